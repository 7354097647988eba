"""The scheduler under random walks: nothing lost, nothing starved, every bound kept."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nacelle_runtime.kv_blocks import BlockPool
from nacelle_runtime.prefix_cache import PrefixCache
from nacelle_runtime.request import Ending, FinishReason, RefusalCode, Request, Sampling
from nacelle_runtime.scheduler import Bounds, Scheduler

SIZE = 4
STOP = 1


def make(blocks=20, caching=True, **bounds):
    values = {
        "requests": 4,
        "tokens": 16,
        "prefill_tokens": 8,
        "input_len": 40,
        "sequence_len": 60,
        "vocabulary": 100,
        "queue": 6,
        "tokens_per_block": SIZE,
    } | bounds
    pool = BlockPool(blocks)
    prefixes = PrefixCache(pool, "engine", values["tokens_per_block"]) if caching else None
    return Scheduler(Bounds(**values), pool, prefixes)


def request(number, prompt, max_tokens=3, salt="", min_tokens=0):
    ending = Ending(max_tokens, frozenset({STOP}), min_tokens)
    return Request((0, number), list(prompt), Sampling(), ending, salt)


def step(scheduler, token=lambda draw: 7):
    batch = scheduler.schedule()
    if batch is None:
        return None, []
    return batch, scheduler.commit(batch, [token(draw) for draw in batch.draws])


def run_dry(scheduler):
    produced = []
    while not scheduler.idle:
        batch, out = step(scheduler)
        assert batch is not None, "requests wait but nothing runs"
        scheduler.check()
        produced += out
    return produced


def test_a_long_prompt_is_run_in_chunks_beside_decodes():
    scheduler = make()
    scheduler.submit(request(1, [5] * 3, max_tokens=9))
    step(scheduler)
    scheduler.submit(request(2, range(10, 30)))
    sizes = []
    for _ in range(4):
        batch, _ = step(scheduler)
        sizes.append([len(chunk.tokens) for chunk in batch.chunks])
    assert sizes == [[1, 8], [1, 8], [1, 4], [1, 1]]


def test_an_answer_ends_at_its_stop_id_or_its_length():
    scheduler = make()
    scheduler.submit(request(1, [5, 6], max_tokens=2))
    scheduler.submit(request(2, [6, 5], max_tokens=5))
    answers = iter([7, 8, 9, STOP])
    done = {}
    while not scheduler.idle:
        for out in step(scheduler, lambda draw: next(answers))[1]:
            if out.finish:
                done[out.request[1]] = (out.finish, out.position)
    assert done == {1: (FinishReason.LENGTH, 1), 2: (FinishReason.STOP, 1)}


def test_stop_ids_are_banned_until_min_tokens_are_out():
    scheduler = make()
    scheduler.submit(request(1, [5, 6], max_tokens=5, min_tokens=2))
    banned = []
    while not scheduler.idle:
        batch, _ = step(scheduler)
        banned += [set(draw.banned) for draw in batch.draws]
    assert banned == [{STOP}, {STOP}, set(), set(), set()]


def test_a_shared_prefix_is_computed_once_and_only_under_its_salt():
    scheduler = make()
    prompt = list(range(10, 23))
    for number, salt in enumerate(["", "", "tenant"]):
        scheduler.submit(request(number, prompt, salt=salt))
        run_dry(scheduler)
        assert scheduler.hit_tokens == (0, 12, 12)[number]


def test_a_prompt_of_full_blocks_keeps_its_last_token_to_compute():
    scheduler = make()
    for number in range(2):
        scheduler.submit(request(number, range(10, 18)))
        run_dry(scheduler)
    assert scheduler.hit_tokens == SIZE


def test_an_answer_is_a_prefix_of_the_next_turn():
    scheduler = make()
    scheduler.submit(request(1, range(10, 15), max_tokens=6))
    answer = [out.token for out in run_dry(scheduler)]
    scheduler.submit(request(2, [*range(10, 15), *answer, 50, 51]))
    run_dry(scheduler)
    assert scheduler.hit_tokens == 8


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "message"),
    [
        ([], 3, "the prompt is empty"),
        ([5, 100], 3, "token ids must lie in 0 to 99"),
        ([5] * 41, 3, "the prompt has 41 tokens; the limit is 40"),
        ([5] * 40, 21, "40 prompt tokens and 21 to come; a sequence has at most 60"),
        ([5], 0, "1 prompt tokens and 0 to come; a sequence has at most 60"),
    ],
)
def test_what_cannot_run_is_refused(prompt, max_tokens, message):
    refusal = make().submit(request(1, prompt, max_tokens))
    assert (refusal.code, refusal.message) == (RefusalCode.INVALID, message)


def test_a_full_queue_refuses_and_takes_again_when_it_has_emptied():
    scheduler = make(blocks=4, queue=2)
    for number in range(3):
        assert scheduler.submit(request(number, [5] * 9)) is None
    refusal = scheduler.submit(request(3, [5] * 9))
    assert refusal.code is RefusalCode.QUEUE_FULL
    run_dry(scheduler)
    assert scheduler.submit(request(3, [5] * 9)) is None


def test_first_come_is_first_served_even_when_a_later_one_would_fit():
    scheduler = make(blocks=9)
    scheduler.submit(request(1, [5] * 20, max_tokens=1))
    scheduler.submit(request(2, [6] * 20, max_tokens=1))
    scheduler.submit(request(3, [7] * 2, max_tokens=1))
    assert [r.id[1] for r in scheduler.running] == [1]
    order = [out.request[1] for out in run_dry(scheduler)]
    assert order.index(1) < order.index(2)


def test_a_cancelled_request_frees_its_blocks_wherever_it_stands():
    scheduler = make(blocks=4, caching=False)
    scheduler.submit(request(1, [5] * 9))
    scheduler.submit(request(2, [5] * 9))
    step(scheduler)
    assert scheduler.cancel([(0, 1), (0, 2), (0, 9)]) == 2
    scheduler.check()
    assert scheduler.idle
    assert scheduler.pool.available == scheduler.pool.total


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    blocks=st.integers(16, 40),
    caching=st.booleans(),
    requests=st.integers(1, 5),
)
def test_random_walks_lose_no_block_and_no_request(seed, blocks, caching, requests):
    walk = random.Random(seed)
    scheduler = make(blocks=blocks, caching=caching, requests=requests, tokens=max(requests, 9))
    stems = [[walk.randrange(2, 100) for _ in range(30)] for _ in range(3)]
    alive, finished, number = set(), set(), 0
    for _ in range(120):
        action = walk.random()
        if action < 0.35:
            prompt = walk.choice(stems)[: walk.randrange(1, 30)]
            prompt = prompt + [walk.randrange(2, 100) for _ in range(walk.randrange(0, 5))]
            number += 1
            if scheduler.submit(request(number, prompt, walk.randrange(1, 20))) is None:
                alive.add(number)
        elif action < 0.45 and alive:
            gone = walk.choice(sorted(alive))
            assert scheduler.cancel([(0, gone)]) == 1
            alive.discard(gone)
        else:
            batch, out = step(scheduler, lambda draw: walk.choice([STOP, 7, 8, 9]))
            assert (batch is None) == (not alive)
            if batch is not None:
                assert batch.tokens <= scheduler.bounds.tokens
                for chunk in batch.chunks:
                    assert len(chunk.blocks) * SIZE >= chunk.end
            for item in out:
                assert item.request[1] in alive, "an answer for a request that is gone"
                if item.finish:
                    alive.discard(item.request[1])
                    finished.add(item.request[1])
        scheduler.check()
    run_dry(scheduler)
    scheduler.check()
    assert scheduler.pool.available == scheduler.pool.total
    if not caching:
        assert scheduler.pool.idle == 0
