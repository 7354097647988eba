"""Scheduler and runner over a real paged model: the same answers as with no cache and no batch."""

import random
from dataclasses import replace

import pytest
from tiny_program import TinyProgram

from nacelle_runtime.batch import Drawn
from nacelle_runtime.kv_blocks import BlockPool
from nacelle_runtime.pipeline import Pipeline
from nacelle_runtime.prefix_cache import PrefixCache
from nacelle_runtime.request import Ending, Request, Sampling
from nacelle_runtime.runner import Runner
from nacelle_runtime.scheduler.bounds import Bounds, Policy
from nacelle_runtime.scheduler.scheduler import Scheduler

MODEL = TinyProgram()
BOUNDS = Bounds(
    requests=6,
    tokens=60,
    prefill_tokens=40,
    input_len=300,
    sequence_len=350,
    vocabulary=260,
    queue=100,
)


DEPTHS = pytest.mark.parametrize("depth", [1, 2])


def engine(depth, blocks, caching=True, **bounds):
    pool = BlockPool(blocks)
    MODEL.allocate_kv(blocks)
    prefixes = PrefixCache(pool, "k", 32) if caching else None
    scheduler = Scheduler(replace(BOUNDS, **bounds), pool, prefixes)
    return scheduler, Pipeline(scheduler, Runner(MODEL.run, groups=1, tokens_per_block=32), depth)


def step(pipeline, answers):
    ended = pipeline.advance()
    for item in ended.produced if ended else ():
        answers.setdefault(item.request[1], []).append(item.token)
    pipeline.scheduler.check()


def greedy(number, prompt, count):
    return Request((0, number), prompt, Sampling(temperature=0), Ending(count))


@pytest.mark.slow
@DEPTHS
@pytest.mark.parametrize("caching", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_answers_do_not_depend_on_batches_chunks_or_prefix_hits(seed, caching, depth):
    walk = random.Random(seed)
    scheduler, pipeline = engine(depth, blocks=24, caching=caching)
    stem = [walk.randrange(260) for _ in range(200)]
    prompts = [
        stem[: walk.randrange(1, 200)] + [walk.randrange(260) for _ in range(walk.randrange(9))]
        for _ in range(20)
    ]
    answers = {}
    for number, prompt in enumerate(prompts):
        assert scheduler.submit(greedy(number, prompt, 12)) is None
        for _ in range(walk.randrange(6)):
            step(pipeline, answers)
    while not scheduler.idle:
        step(pipeline, answers)
    assert answers == {n: MODEL.greedy(p, 12) for n, p in enumerate(prompts)}
    assert (scheduler.hit_tokens > 0) == caching


@DEPTHS
def test_a_seed_gives_the_same_answer_alone_and_among_others(depth):
    def run(others):
        scheduler, pipeline = engine(depth, blocks=60)
        answers = {}
        for number in range(others):
            scheduler.submit(Request((0, number), [number], Sampling(seed=number), Ending(30)))
            step(pipeline, answers)
        wanted = Request((0, 99), [7, 8], Sampling(0.8, 40, 0.9, seed=3), Ending(30))
        scheduler.submit(wanted)
        while not scheduler.idle:
            step(pipeline, answers)
        return answers[99]

    assert run(others=0) == run(others=5)
    assert len(set(run(others=0))) > 10


@pytest.mark.slow
@DEPTHS
@pytest.mark.parametrize("chunked", [True, False])
def test_a_sampled_answer_is_the_same_when_its_request_was_put_back(chunked, depth):
    def run(blocks, policy):
        scheduler, pipeline = engine(
            depth,
            blocks,
            caching=False,
            policy=policy,
            chunked=chunked,
            tokens=100,
            sequence_len=200,
        )
        answers = {}
        for number in range(6):
            sampling = Sampling(0.9, 40, 0.95, seed=number)
            scheduler.submit(Request((0, number), [number] * 30, sampling, Ending(100)))
        while not scheduler.idle:
            step(pipeline, answers)
        return answers, scheduler.preemptions

    undisturbed, none = run(60, Policy.GUARANTEED_NO_EVICT)
    tight, some = run(14, Policy.MAX_UTILIZATION)
    assert (none, some > 2) == (0, True)
    assert tight == undisturbed


def test_the_tables_of_a_step_hold_each_requests_blocks_and_zeros_after_them():
    walk = random.Random(1)
    scheduler, _ = engine(1, blocks=30, policy=Policy.MAX_UTILIZATION)
    runner = Runner(MODEL.run, groups=1, tokens_per_block=32)
    for number in range(12):
        prompt = [walk.randrange(260) for _ in range(walk.randrange(1, 150))]
        scheduler.submit(Request((0, number), prompt, Sampling(), Ending(100)))
    while (batch := scheduler.schedule()) is not None:
        made = runner.step_input(batch)
        (table,) = made.block_tables
        width = max(len(chunk.blocks) for chunk in batch.chunks)
        assert table.tolist() == [
            [*chunk.blocks, *[0] * (width - len(chunk.blocks))] for chunk in batch.chunks
        ]
        scheduler.commit(batch, Drawn([5] * len(batch.draws)))
    assert scheduler.preemptions > 0
