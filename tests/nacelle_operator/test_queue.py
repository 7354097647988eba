"""The keyed queue: tables for each rule, and random walks under a virtual clock."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nacelle_operator.queue import Backoff, Key, KeyQueue

A, B, C = (Key("EngineBuild", "ns", name) for name in "abc")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make(concurrency: int = 2, random: float = 1.0) -> tuple[KeyQueue, Clock]:
    clock = Clock()
    queue = KeyQueue(clock=clock, random=lambda: random, concurrency=concurrency)
    return queue, clock


def test_a_key_is_taken_once_however_often_it_is_added() -> None:
    queue, _ = make()
    for _ in range(3):
        queue.add(A)
    assert queue.take() == A
    assert queue.take() is None


def test_a_key_added_while_it_runs_is_taken_again_afterwards() -> None:
    queue, _ = make()
    queue.add(A)
    assert queue.take() == A
    queue.add(A)
    assert queue.take() is None
    queue.finish(A)
    assert queue.take() == A


def test_the_earlier_due_wins() -> None:
    queue, clock = make()
    queue.add(A, 10)
    queue.add(A, 2)
    queue.add(A, 5)
    assert queue.wait() == 2
    clock.now += 2
    assert queue.take() == A
    queue.finish(A)
    clock.now += 20
    assert queue.take() is None


def test_concurrency_is_bounded_and_the_longest_due_goes_first() -> None:
    queue, clock = make(concurrency=1)
    queue.add(B)
    clock.now += 1
    queue.add(A)
    assert queue.take() == B
    assert queue.take() is None and queue.wait() is None
    queue.finish(B)
    assert queue.take() == A


@pytest.mark.parametrize(
    ("attempt", "random", "delay"),
    [
        (1, 1.0, 0.5),
        (1, 0.0, 0.25),
        (2, 1.0, 1.0),
        (7, 1.0, 32.0),
        (8, 1.0, 60.0),
        (999, 0.0, 30.0),
    ],
)
def test_backoff_doubles_up_to_its_longest(attempt: int, random: float, delay: float) -> None:
    assert Backoff(first=0.5, longest=60.0).delay(attempt, lambda: random) == delay


def test_an_event_does_not_cut_a_backoff_short_and_success_ends_it() -> None:
    queue, clock = make()
    queue.add(A)
    queue.take()
    assert queue.retry(A) == 0.5
    queue.add(A)
    assert queue.take() is None
    clock.now += 0.5
    assert queue.take() == A
    assert queue.retry(A) == 1.0
    clock.now += 1.0
    assert queue.take() == A
    queue.finish(A)
    assert queue.failures(A) == 0
    queue.add(A)
    assert queue.take() == A


def test_the_server_may_ask_for_more_patience_than_the_backoff() -> None:
    queue, clock = make()
    queue.add(A)
    queue.take()
    assert queue.retry(A, at_least=30.0) == 30.0
    assert queue.wait() == 30.0
    clock.now += 30.0
    assert queue.take() == A


def test_requeue_after() -> None:
    queue, clock = make()
    queue.add(A)
    queue.take()
    queue.finish(A, requeue_after=5)
    assert queue.wait() == 5
    clock.now += 5
    assert queue.take() == A


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_a_random_walk_keeps_the_invariants_and_loses_no_key(seed: int, concurrency: int) -> None:
    random = Random(seed)
    clock = Clock()
    queue = KeyQueue(clock=clock, random=random.random, concurrency=concurrency)
    owed: set[Key] = set()  # added, and not taken since
    running: list[Key] = []
    for _ in range(300):
        match random.choice(("add", "add", "take", "take", "finish", "retry", "wait")):
            case "add":
                key = random.choice((A, B, C))
                queue.add(key, random.choice((0.0, 0.0, 3.0)))
                owed.add(key)
            case "take":
                key = queue.take()
                if key is not None:
                    assert key not in running
                    owed.discard(key)
                    running.append(key)
            case "finish" if running:
                queue.finish(running.pop(random.randrange(len(running))))
            case "retry" if running:
                key = running.pop(random.randrange(len(running)))
                assert 0 < queue.retry(key) <= 60.0
                owed.add(key)
            case "wait":
                clock.now += random.choice((0.1, 1.0, 10.0))
        queue.check()
        assert queue.running == frozenset(running)
        assert len(running) <= concurrency
    while running:
        queue.finish(running.pop())
    clock.now += 1000.0
    taken = set()
    while (key := queue.take()) is not None:
        taken.add(key)
        queue.finish(key)
    assert owed <= taken
    assert queue.wait() is None
