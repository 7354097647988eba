"""Who is next: priorities, arrival, and a bound on how often a request is passed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduling import GUARANTEED, MAX_UTILIZATION, make, request, run_dry, step

from nacelle_runtime.scheduler.queue import WaitingQueue


def waiting(patience, *priorities):
    queue = WaitingQueue(patience)
    for number, priority in enumerate(priorities):
        arrive(queue, number, priority)
    return queue


def arrive(queue, number, priority):
    one = request(number, [5], priority=priority)
    one.number = number
    queue.add(one)
    return one


def taken(queue):
    return [queue.take().number for _ in range(len(queue))]


def test_higher_priorities_first_and_within_one_by_arrival():
    queue = waiting(9, 0, 5, -1, 5, 0)
    assert [r.number for r in queue] == [1, 3, 0, 4, 2]
    assert taken(queue) == [1, 3, 0, 4, 2]
    assert queue.first is None


def test_a_request_passed_so_often_stands_before_all_later_ones():
    queue = waiting(2, 0, 9, 9, 9)
    assert taken(queue) == [1, 2, 0, 3]


def test_urgent_requests_are_served_by_arrival_and_not_by_priority():
    queue = waiting(2, 0, 1, 9, 9, 9)
    assert taken(queue) == [2, 3, 0, 1, 4]


def test_an_urgent_one_that_is_taken_passes_earlier_ones_of_any_priority():
    queue = waiting(1, 3, 0)
    queue.remove(next(iter(queue)))
    arrive(queue, 2, 9)
    queue.take()
    early = request(9, [5], priority=5)
    early.number = 0
    queue.add(early)
    assert queue.take().number == 1
    assert early.passed == 1


def test_a_request_put_back_keeps_its_place_by_arrival_and_was_passed_once():
    queue = waiting(2, 0, 0, 0)
    first = queue.take()
    queue.put_back(first)
    assert (first.passed, first.urgent) == (1, False)
    assert [r.number for r in queue] == [0, 1, 2]
    queue.put_back(queue.take())
    assert first.urgent


def test_a_cancelled_one_leaves_no_trace():
    queue = waiting(9, 0, 5, 0)
    queue.remove(next(iter(queue)))
    queue.remove(list(queue)[1])
    assert (taken(queue), len(queue)) == ([0], 0)


@settings(max_examples=200, deadline=None)
@given(
    actions=st.lists(st.one_of(st.integers(-3, 3), st.none()), max_size=150),
    patience=st.integers(1, 6),
)
def test_no_pattern_of_arrivals_passes_a_request_more_often_than_stated(actions, patience):
    """An integer is an arrival of that priority, None an admission."""
    queue, passed, number = WaitingQueue(patience), {}, 0
    for action in actions:
        if action is not None:
            arrive(queue, number, action)
            passed[number] = 0
            number += 1
        elif len(queue):
            admitted = queue.take().number
            del passed[admitted]
            for other in passed:
                passed[other] += other < admitted
        assert all(count <= patience for count in passed.values())
    assert sorted(taken(queue)) == sorted(passed)


@pytest.mark.parametrize("policy", [GUARANTEED, MAX_UTILIZATION])
@pytest.mark.parametrize("places", [1, 3])
def test_a_low_priority_is_served_while_high_ones_never_stop_coming(policy, places):
    patience, answer = 5, 6
    scheduler = make(
        blocks=16, requests=places, policy=policy, patience=patience, queue=20, caching=False
    )
    for number in range(4):
        scheduler.submit(request(number, [5] * 5, answer, priority=9))
    low = request(100, [6] * 9, max_tokens=20, priority=0)
    scheduler.submit(low)
    number, steps = 200, 0
    while low.id in scheduler.requests:
        while len(scheduler.waiting) < 4:
            scheduler.submit(request(number, [5] * 5, answer, priority=9))
            number += 1
        step(scheduler)
        scheduler.check()
        steps += 1
        # Four before it and `patience` after it, each some seven steps, then its own twenty.
        assert steps < (4 + patience) * (answer + 2) + 30, "the low one starves"
    assert low.passed <= patience
    run_dry(scheduler)
