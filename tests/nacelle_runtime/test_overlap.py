"""A step scheduled while the one before is in flight: who goes on, who waits, what is dropped."""

from itertools import pairwise

import pytest
from scheduling import MAX_UTILIZATION, SIZE, STOP, StandIn, make, request

from nacelle_runtime.batch import DeviceTime, Drawn
from nacelle_runtime.pipeline import Pipeline


def commit(scheduler, batch, *tokens):
    """What a step with these draws gave: request's number, token, finish."""
    produced = scheduler.commit(batch, Drawn(tokens))
    scheduler.check()
    return [(item.request[1], item.token, item.finish) for item in produced]


def scheduled(scheduler):
    """The next step, and by request what its one token is: known, or a draw's number."""
    batch = scheduler.schedule()
    scheduler.check()
    awaits = {chunk.request[1]: chunk.awaits for chunk in batch.chunks} if batch else None
    return batch, awaits


def answering(scheduler, *requests):
    """Requests whose prompts run in the step that is given, which is in flight."""
    for one in requests:
        assert scheduler.submit(one) is None
    batch, awaits = scheduled(scheduler)
    assert set(awaits) == {one.id[1] for one in requests}
    return batch


def test_an_answer_goes_on_by_the_number_of_the_draw_that_is_in_flight():
    scheduler = make(prefill_tokens=16)
    first = answering(scheduler, request(1, [5] * 3), request(2, [6] * 5), request(3, [7] * 2))
    second, awaits = scheduled(scheduler)
    assert awaits == {1: 0, 2: 1, 3: 2}
    assert [(list(c.tokens), c.start, c.draws[0].position) for c in second.chunks] == [
        ([0], 3, 1),
        ([0], 5, 1),
        ([0], 2, 1),
    ]
    assert commit(scheduler, first, 10, 20, 30) == [(1, 10, None), (2, 20, None), (3, 30, None)]
    assert commit(scheduler, second, 11, 21, 31) == [(1, 11, None), (2, 21, None), (3, 31, None)]


def test_a_prompt_goes_on_while_its_chunk_is_in_flight():
    scheduler = make(prefill_tokens=8)
    first = answering(scheduler, request(1, range(10, 29)))
    second, awaits = scheduled(scheduler)
    assert awaits == {1: None}
    assert [(c.start, len(c.tokens)) for b in (first, second) for c in b.chunks] == [(0, 8), (8, 8)]


def test_a_third_step_is_not_launched_before_the_first_has_ended():
    scheduler = make()
    answering(scheduler, request(1, [5] * 3, max_tokens=9))
    scheduled(scheduler)
    with pytest.raises(AssertionError, match="too many steps in flight"):
        scheduler.schedule()


def test_steps_end_in_the_order_of_their_launch():
    scheduler = make()
    answering(scheduler, request(1, [5] * 3, max_tokens=9))
    second, _ = scheduled(scheduler)
    with pytest.raises(AssertionError, match="in the order of their launch"):
        scheduler.commit(second, Drawn([7]))


def test_a_stop_id_ends_the_answer_a_step_later_and_the_extra_token_is_never_shown():
    scheduler = make(caching=False)
    first = answering(
        scheduler, request(1, [5] * 3, max_tokens=9), request(2, [6] * 2, max_tokens=9)
    )
    second, _ = scheduled(scheduler)
    assert commit(scheduler, first, STOP, 8) == [(1, STOP, "stop"), (2, 8, None)]
    third, awaits = scheduled(scheduler)
    assert awaits == {2: 1}
    assert commit(scheduler, second, 77, 9) == [(2, 9, None)]
    assert commit(scheduler, third, 10) == [(2, 10, None)]


def test_blocks_of_an_ended_answer_are_nobody_elses_until_the_step_that_writes_them_has_ended():
    scheduler = make(blocks=4, caching=False)
    first = answering(scheduler, request(1, [5] * SIZE, max_tokens=2 * SIZE))
    scheduler.submit(request(2, [6] * SIZE, max_tokens=SIZE + 1))
    second, _ = scheduled(scheduler)
    written = second.chunks[0].blocks[1]
    commit(scheduler, first, STOP)
    third, awaits = scheduled(scheduler)
    assert awaits is None, "request 2 was let in before the blocks were free"
    assert scheduler.pool.used == 2
    commit(scheduler, second, 77)
    third, awaits = scheduled(scheduler)
    assert awaits == {2: None}
    assert written not in third.chunks[0].blocks[:1]


def test_an_answer_that_ends_by_its_length_takes_no_step_more():
    scheduler = make()
    first = answering(
        scheduler, request(1, [5] * 3, max_tokens=1), request(2, [6] * 2, max_tokens=2)
    )
    second, awaits = scheduled(scheduler)
    assert awaits == {2: 1}
    commit(scheduler, first, 7, 8)
    assert scheduled(scheduler) == (None, None)
    assert commit(scheduler, second, 9) == [(2, 9, "length")]
    assert scheduler.idle


@pytest.mark.parametrize(
    "sampling",
    [
        {"presence_penalty": 1.0},
        {"frequency_penalty": 1.0},
        {"repetition_penalty": 1.5},
        {"bad_words": ((8, 9),)},
    ],
)
def test_who_needs_the_answer_so_far_sits_a_step_out_and_holds_up_nobody(sampling):
    scheduler = make()
    step = answering(
        scheduler,
        request(1, [5] * 3, 9, **sampling),
        request(2, [6] * 2, 9),
        request(3, [7] * 2, 9),
    )
    for steps in range(4):
        following, awaits = scheduled(scheduler)
        expected = {2: 1, 3: 2} if steps % 2 == 0 else {1: None, 2: 0, 3: 1}
        assert awaits == expected
        commit(scheduler, step, *range(20, 20 + len(step.draws)))
        step = following


def test_bad_words_are_banned_by_the_token_that_was_drawn_just_before():
    scheduler = make()
    first = answering(scheduler, request(1, [5] * 3, 9, bad_words=((8, 9),)))
    assert scheduled(scheduler) == (None, None)
    commit(scheduler, first, 8)
    second, _ = scheduled(scheduler)
    assert second.draws[0].banned == {9}


def test_stop_ids_are_banned_by_place_though_tokens_are_awaited():
    scheduler = make()
    first = answering(scheduler, request(1, [5] * 3, max_tokens=5, min_tokens=2))
    second, _ = scheduled(scheduler)
    commit(scheduler, first, 7)
    third, _ = scheduled(scheduler)
    assert [set(batch.draws[0].banned) for batch in (first, second, third)] == [
        {STOP},
        {STOP},
        set(),
    ]


def test_a_request_cancelled_in_flight_leaves_nothing_and_its_number_may_come_again():
    scheduler = make(caching=False)
    first = answering(scheduler, request(1, [5] * 6, max_tokens=9))
    second, _ = scheduled(scheduler)
    assert scheduler.cancel([(0, 1)]) == 1
    scheduler.check()
    assert not scheduler.idle
    assert scheduler.pool.used == 2
    scheduler.submit(request(1, [6] * 6, max_tokens=9))
    assert commit(scheduler, first, 7) == []
    third, _ = scheduled(scheduler)
    assert not set(third.chunks[0].blocks) & set(second.chunks[0].blocks)
    assert commit(scheduler, second, 7) == []
    assert commit(scheduler, third, 8) == [(1, 8, None)]


def test_all_blocks_are_back_when_everything_in_flight_was_cancelled_and_has_ended():
    scheduler = make(caching=False)
    first = answering(
        scheduler, request(1, [5] * 6, max_tokens=9), request(2, [5] * 2, max_tokens=9)
    )
    second, _ = scheduled(scheduler)
    assert scheduler.cancel(scheduler.requests) == 2
    commit(scheduler, first, 7, 7)
    assert scheduler.schedule() is None
    commit(scheduler, second, 7, 7)
    assert scheduler.idle
    assert scheduler.pool.available == scheduler.pool.total


def test_nobody_is_put_back_while_a_step_is_in_flight():
    scheduler = make(blocks=4, caching=False, policy=MAX_UTILIZATION)
    first = answering(
        scheduler, request(1, [5] * 3, max_tokens=9), request(2, [6] * 2, max_tokens=9)
    )
    steps = [first]
    while (following := scheduled(scheduler)[0]) is not None:
        commit(scheduler, steps[-1], *[7] * len(steps[-1].draws))
        steps.append(following)
    assert scheduler.preemptions == 0
    commit(scheduler, steps[-1], *[7] * len(steps[-1].draws))
    assert scheduled(scheduler)[0] is not None
    assert scheduler.preemptions == 1


def test_a_block_is_found_again_only_once_it_is_computed():
    scheduler = make()
    prompt = list(range(10, 19))
    first = answering(scheduler, request(1, prompt))
    second, _ = scheduled(scheduler)
    scheduler.submit(request(2, prompt))
    assert scheduler.hit_tokens == 0
    commit(scheduler, first)
    scheduler.submit(request(3, prompt))
    assert scheduler.hit_tokens == 8
    commit(scheduler, second, 7)


class Engine:
    """Tells what is asked of it; a step's handle is its number."""

    def __init__(self):
        self.calls, self.model = [], StandIn(20, stop_every=10**9)

    def launch(self, batch, before):
        self.calls.append(("launch", before and before.number))
        step = self.model.launch(batch, before)
        step.number = sum(kind == "launch" for kind, _ in self.calls)
        return step

    def collect(self, step):
        self.calls.append(("collect", step.number))
        return self.model.collect(step)._replace(time=DeviceTime(2.0, 0.5))


@pytest.mark.parametrize(
    ("depth", "calls"),
    [
        (
            1,
            [
                ("launch", None),
                ("collect", 1),
                ("launch", 1),
                ("collect", 2),
                ("launch", 2),
                ("collect", 3),
            ],
        ),
        (
            2,
            [
                ("launch", None),
                ("launch", 1),
                ("collect", 1),
                ("launch", 2),
                ("collect", 2),
                ("collect", 3),
            ],
        ),
    ],
)
def test_the_depth_is_how_many_steps_are_launched_before_one_is_waited_for(depth, calls):
    engine = Engine()
    pipeline = Pipeline(make(), engine, depth)
    for _ in range(2):
        pipeline.scheduler.submit(request(1, [5] * 3, max_tokens=3))
        engine.calls.clear()
        ended = []
        while not pipeline.scheduler.idle:
            if (one := pipeline.advance()) is not None:
                ended.append(one)
        assert engine.calls == calls
        assert [len(one.produced) for one in ended] == [1, 1, 1]
        assert all(a.now <= b.began <= b.now for a, b in pairwise(ended))
        assert ended[0].device == (2.0, 0.5)
    assert pipeline.advance() is None
