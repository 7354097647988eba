"""Drafted tokens in steps: what a step holds, what it gives, and who sits one out."""

import pytest
from guessing import FLAT, Told, told
from scheduling import MAX_UTILIZATION, SIZE, STOP, make, request, step

from nacelle_runtime.batch import Drawn
from nacelle_runtime.figures import figures
from nacelle_runtime.request import FinishReason
from nacelle_runtime.speculation.payoff import RETRY, TRIED, Costs
from nacelle_runtime.speculation.speculation import Speculation
from nacelle_runtime.stats import CoreStats
from nacelle_runtime.wire import Ready


def answering(scheduler, *requests):
    """Run the prompts, each of which fits the step, to the first token: 7."""
    for one in requests:
        assert scheduler.submit(one) is None
    step(scheduler)
    scheduler.check()


def scheduled(scheduler):
    batch = scheduler.schedule()
    scheduler.check()
    return batch


def commit(scheduler, batch, *tokens):
    produced = scheduler.commit(batch, Drawn(tokens))
    scheduler.check()
    return [item.token for item in produced]


def test_a_chunk_holds_the_last_token_and_the_drafted_ones_with_a_draw_after_each():
    scheduler = make(speculation=told({1: [8, 9, 10]}))
    answering(scheduler, request(1, [5] * 3, max_tokens=9))
    (part,) = scheduled(scheduler).chunks
    assert (part.tokens, part.start, part.drafted) == ([7, 8, 9, 10], 3, [8, 9, 10])
    assert [draw.position for draw in part.draws] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("drawn", "produced", "start"),
    [
        ((8, 9, 10, 11), [8, 9, 10, 11], 7),
        ((8, 9, 20, 21), [8, 9, 20], 6),
        ((20, 9, 10, 11), [20], 4),
    ],
)
def test_the_answer_gets_the_kept_ones_and_the_token_after_them(drawn, produced, start):
    speculation = told({1: [8, 9, 10]})
    scheduler = make(speculation=speculation)
    answering(scheduler, request(1, [5] * 3, max_tokens=30))
    assert commit(scheduler, scheduled(scheduler), *drawn) == produced
    assert (speculation.drafted, speculation.accepted) == (3, len(produced) - 1)
    following = scheduled(scheduler).chunks[0]
    assert (following.start, following.tokens[0]) == (start, produced[-1])


def test_an_answer_never_gets_longer_than_it_may():
    scheduler = make(speculation=told({1: [8, 9, 10]}))
    answering(scheduler, request(1, [5] * 3, max_tokens=3))
    batch = scheduled(scheduler)
    assert batch.chunks[0].drafted == [8]
    produced = scheduler.commit(batch, Drawn((8, 9)))
    assert [(item.position, item.finish) for item in produced] == [
        (1, None),
        (2, FinishReason.LENGTH),
    ]
    assert scheduler.idle


def test_a_stop_id_among_the_kept_ends_the_answer_there():
    scheduler = make(speculation=told({1: [8, STOP, 10]}))
    answering(scheduler, request(1, [5] * 3, max_tokens=9))
    produced = scheduler.commit(scheduled(scheduler), Drawn((8, STOP, 10, 11)))
    assert [(item.token, item.finish) for item in produced] == [
        (8, None),
        (STOP, FinishReason.STOP),
    ]
    assert scheduler.idle
    assert scheduler.pool.available == scheduler.pool.total


def test_the_prefix_cache_never_knows_a_block_with_tokens_that_were_not_kept():
    scheduler = make(speculation=told({1: [8, 9, 10, 11]}))
    answering(scheduler, request(1, [5] * 2, max_tokens=20))
    assert commit(scheduler, scheduled(scheduler), 20, 9, 10, 11, 12) == [20]
    scheduler.submit(request(2, [5, 5, 7, 8, 9]))
    assert scheduler.hit_tokens == 0
    commit(scheduler, scheduled(scheduler), 8, 9, 10, 11, 12, 30)
    scheduler.submit(request(3, [5, 5, 7, 20, 9]))
    assert scheduler.hit_tokens == SIZE


def test_penalties_bad_words_and_min_tokens_hold_at_each_drafted_place():
    scheduler = make(speculation=told({1: [8, 9, 8]}))
    asked = request(
        1, [5] * 3, 9, min_tokens=3, presence_penalty=0.5, bad_words=((8, 30), (9, 8, 31))
    )
    answering(scheduler, asked)
    (part,) = scheduled(scheduler).chunks
    assert [set(draw.banned) for draw in part.draws] == [{STOP}, {STOP, 30}, set(), {30, 31}]
    assert [dict(draw.seen.answer) for draw in part.draws] == [
        {7: 1},
        {7: 1, 8: 1},
        {7: 1, 8: 1, 9: 1},
        {7: 1, 8: 2, 9: 1},
    ]
    assert asked.seen.answer == {7: 1}


def test_an_answer_with_a_grammar_has_no_drafts():
    class Anything:
        failed = False

        def advance(self, token):
            pass

    scheduler = make(speculation=told({1: [8], 2: [9]}))
    one, other = request(1, [5] * 3, 9), request(2, [6] * 3, 9)
    one.matcher = Anything()
    answering(scheduler, one, other)
    assert [part.drafted for part in scheduled(scheduler).chunks] == [(), [9]]


def test_prompts_get_their_tokens_before_drafts_do():
    scheduler = make(tokens=12, prefill_tokens=8, speculation=told({1: [8, 9, 10, 11]}))
    answering(scheduler, request(1, [5] * 3, max_tokens=30))
    scheduler.submit(request(2, range(10, 30)))
    batch = scheduled(scheduler)
    assert [len(part.tokens) for part in batch.chunks] == [4, 8]
    assert batch.tokens == 12


def test_drafts_take_no_block_that_a_running_answer_may_need():
    drafts = {number: [8, 9, 10, 11] for number in (1, 2)}
    scheduler = make(blocks=6, policy=MAX_UTILIZATION, caching=False, speculation=told(drafts))
    answering(scheduler, request(1, [5] * 2, 12), request(2, [6] * 2, 12))
    # Each holds one block of 4 and has 2 tokens in it; of 3 more, one for each is left alone.
    assert [len(part.drafted) for part in scheduled(scheduler).chunks] == [4, 1]


def test_a_request_sits_a_step_out_while_its_guesses_are_in_flight_and_holds_up_nobody():
    scheduler = make(prefill_tokens=16, speculation=told({1: [8, 9]}, depth=1))
    answering(scheduler, request(1, [5] * 3, 9), request(2, [6] * 2, 9))
    first = scheduled(scheduler)
    assert [part.drafted for part in first.chunks] == [[8, 9], ()]
    second = scheduled(scheduler)
    assert [(part.request[1], part.awaits) for part in second.chunks] == [(2, 3)]
    assert commit(scheduler, first, 8, 9, 10, 20) == [8, 9, 10, 20]
    third = scheduled(scheduler)
    assert [(part.request[1], part.start) for part in third.chunks] == [(1, 6), (2, 4)]
    assert commit(scheduler, second, 21) == [21]
    assert commit(scheduler, third, 8, 9, 10, 22) == [8, 9, 10, 22]


def test_a_request_that_is_to_draft_waits_until_its_tokens_are_known():
    scheduler = make(prefill_tokens=16, speculation=told({1: [8, 9]}))
    for one in (request(1, [5] * 3, 9), request(2, [6] * 2, 9)):
        scheduler.submit(one)
    first = scheduled(scheduler)
    second = scheduled(scheduler)
    assert [part.request[1] for part in second.chunks] == [2]
    commit(scheduler, first, 7, 7)
    assert scheduled(scheduler).chunks[0].drafted == [8, 9]


def test_a_request_cancelled_with_guesses_in_flight_leaves_nothing():
    drafter = told({1: [8, 9, 10, 11]})
    scheduler = make(caching=False, speculation=drafter)
    answering(scheduler, request(1, [5] * 3, 9))
    batch = scheduled(scheduler)
    assert scheduler.cancel([(0, 1)]) == 1
    scheduler.check()
    assert scheduler.pool.used == 2
    assert commit(scheduler, batch, 8, 9, 10, 11, 12) == []
    assert scheduler.idle
    assert scheduler.pool.available == scheduler.pool.total
    assert (drafter.drafted, drafter.accepted) == (0, 0)


def test_what_was_drafted_and_kept_is_told_and_what_is_synthetic():
    scheduler = make(speculation=told({1: [8, 9, 10]}))
    answering(scheduler, request(1, [5] * 3, max_tokens=9))
    commit(scheduler, scheduled(scheduler), 8, 20, 10, 11)
    stats = CoreStats().snapshot(scheduler)
    for synthetic, label in ((None, "measured"), (0.7, "synthetic")):
        ready = Ready("k", 40, 60, 100, 80, 1, 0.0, "", synthetic_acceptance=synthetic)
        found = {
            figure.name: figure.value
            for figure in figures(stats, ready, "m")
            if figure.labels.get("acceptance") == label
        }
        assert found == {
            "nacelle_drafted_tokens_total": 3,
            "nacelle_accepted_tokens_total": 1,
            "nacelle_draft_acceptance_rate": 1 / 3,
        }


def test_nothing_is_drafted_where_every_token_of_a_step_costs_as_much_as_the_first():
    scheduler = make(speculation=told({1: [8, 9]}, costs=Costs((1, 2), (1.0, 2.0))))
    answering(scheduler, request(1, [5] * 3, 9))
    assert scheduled(scheduler).chunks[0].drafted == ()


def test_guesses_that_fail_are_given_up_and_tried_again_later():
    scheduler = make(speculation=told({1: [8, 9, 10]}, costs=Costs((1, 11), (1.0, 4.0))))
    answering(scheduler, request(1, [5] * 3, max_tokens=50))
    drafted = []
    while not scheduler.idle:
        batch = scheduled(scheduler)
        drafted.append(len(batch.chunks[0].drafted))
        commit(scheduler, batch, *[20] * len(batch.draws))
    assert drafted[0] > 0
    given_up = drafted.index(0)
    again = drafted.index(2, given_up)
    assert given_up < 5
    assert again - given_up == 32


def test_who_ends_or_is_put_back_is_forgotten():
    drafter = Told({})
    speculation = Speculation(drafter, FLAT, 4)
    scheduler = make(blocks=5, policy=MAX_UTILIZATION, caching=False, speculation=speculation)
    answering(scheduler, request(1, [5] * 3, 12), request(2, [6] * 3, 12))
    while scheduler.preemptions == 0:
        step(scheduler)
    assert drafter.forgotten == [2]
    while not scheduler.idle:
        step(scheduler)
    assert drafter.forgotten == [2, 1, 2]


def test_what_does_not_pay_for_the_whole_step_is_not_drafted_and_nobody_sits_out():
    drafter = Told({1: [8, 9, 10], 2: [8, 9, 10]})
    # One kind of step is twice as long as the other, whatever is in it.
    costs, plain = Costs((1, 2), (2.0, 2.0)), Costs((1, 2), (1.0, 1.0))
    speculation = Speculation(drafter, costs, 3, plain=plain)
    scheduler = make(blocks=60, speculation=speculation)
    answering(scheduler, request(1, [5] * 3, max_tokens=50), request(2, [6] * 3, max_tokens=50))
    # Half of new guesses are thought to hold: 1.9 tokens in place of one.
    batch = scheduled(scheduler)
    assert [list(part.drafted) for part in batch.chunks] == [[], []]
    commit(scheduler, batch, 7, 7)
    assert speculation.drafted == 0
    # In time perfect guesses are hoped for, and of both: three tokens each.
    for _ in range(RETRY - 1):
        batch = scheduled(scheduler)
        assert [list(part.drafted) for part in batch.chunks] == [[], []]
        commit(scheduler, batch, *[7] * len(batch.draws))
    batch = scheduled(scheduler)
    assert [len(part.drafted) for part in batch.chunks] == [TRIED, TRIED]
