"""Scheduler and runner over a real paged model: the same answers as with no cache and no batch."""

import random

import pytest
from tiny_program import TinyProgram

from nacelle_runtime.kv_blocks import BlockPool
from nacelle_runtime.prefix_cache import PrefixCache
from nacelle_runtime.request import Ending, Request, Sampling
from nacelle_runtime.runner import Runner
from nacelle_runtime.scheduler import Bounds, Scheduler

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


def engine(blocks, caching=True):
    pool = BlockPool(blocks)
    MODEL.allocate_kv(blocks)
    prefixes = PrefixCache(pool, "k", 32) if caching else None
    return Scheduler(BOUNDS, pool, prefixes), Runner(MODEL.run, groups=1, tokens_per_block=32)


def step(scheduler, runner, answers):
    batch = scheduler.schedule()
    if batch is not None:
        for item in scheduler.commit(batch, runner.run(batch)):
            answers.setdefault(item.request[1], []).append(item.token)
    scheduler.check()


def greedy(number, prompt, count):
    return Request((0, number), prompt, Sampling(temperature=0), Ending(count))


@pytest.mark.parametrize("caching", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_answers_do_not_depend_on_batches_chunks_or_prefix_hits(seed, caching):
    walk = random.Random(seed)
    scheduler, runner = engine(blocks=24, caching=caching)
    stem = [walk.randrange(260) for _ in range(200)]
    prompts = [
        stem[: walk.randrange(1, 200)] + [walk.randrange(260) for _ in range(walk.randrange(9))]
        for _ in range(20)
    ]
    answers = {}
    for number, prompt in enumerate(prompts):
        assert scheduler.submit(greedy(number, prompt, 12)) is None
        for _ in range(walk.randrange(6)):
            step(scheduler, runner, answers)
    while not scheduler.idle:
        step(scheduler, runner, answers)
    assert answers == {n: MODEL.greedy(p, 12) for n, p in enumerate(prompts)}
    assert (scheduler.hit_tokens > 0) == caching


def test_a_seed_gives_the_same_answer_alone_and_among_others():
    def run(others):
        scheduler, runner = engine(blocks=60)
        answers = {}
        for number in range(others):
            scheduler.submit(Request((0, number), [number], Sampling(seed=number), Ending(30)))
            step(scheduler, runner, answers)
        wanted = Request((0, 99), [7, 8], Sampling(0.8, 40, 0.9, seed=3), Ending(30))
        scheduler.submit(wanted)
        while not scheduler.idle:
            step(scheduler, runner, answers)
        return answers[99]

    assert run(others=0) == run(others=5)
    assert len(set(run(others=0))) > 10
