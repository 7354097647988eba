"""Leader election under a virtual clock: never two that may write, and no lease held for ever."""

import copy
import threading
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nacelle_operator.errors import Conflict, NotFound, Unavailable
from nacelle_operator.kinds import Kind
from nacelle_operator.leader import Leader, LeaseName, LeaseTiming

WRITE_SECONDS = 3.5


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class LeaseStore:
    """One lease with the API server's rules on versions; calls can fail before or after taking."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.outcome = "well"

    def get(self, kind: Kind, namespace: str, name: str, timeout: float) -> dict[str, Any]:
        if self.outcome == "down":
            raise Unavailable("no answer")
        if self.lease is None:
            raise NotFound("no lease")
        return copy.deepcopy(self.lease)

    def write_lease(self, lease: dict[str, Any], timeout: float) -> dict[str, Any]:
        if self.outcome == "down":
            raise Unavailable("no answer")
        known = self.lease["metadata"]["resourceVersion"] if self.lease else None
        if lease["metadata"].get("resourceVersion") != known:
            raise Conflict("somebody was faster")
        self.version += 1
        meta = {**lease["metadata"], "resourceVersion": str(self.version)}
        self.lease = {**copy.deepcopy(lease), "metadata": meta}
        if self.outcome == "lost answer":
            raise Unavailable("taken, and no answer")
        return self.lease


def candidate(store: LeaseStore, clock: Clock, name: str) -> Leader:
    return Leader(store, LeaseName("ns", "lease", name), lambda: None, clock=clock)


def test_the_first_leads_and_the_second_waits_the_lease_out() -> None:
    store, clock = LeaseStore(), Clock()
    one, two = candidate(store, clock, "one"), candidate(store, clock, "two")
    assert one.step() and one.holds()
    assert two.step() and not two.holds()
    clock.now += 9.9
    assert two.step() and not two.holds()
    clock.now += 0.1
    assert two.step() and two.holds()
    assert store.lease and store.lease["spec"]["leaseTransitions"] == 1


def test_a_leader_that_cannot_renew_stops_writing_then_loses() -> None:
    store, clock = LeaseStore(), Clock()
    one = candidate(store, clock, "one")
    one.step()
    store.outcome = "down"
    clock.now += 5.9
    assert one.step() and one.holds()
    clock.now += 0.1
    assert not one.holds()
    assert one.step() is False


def test_a_lease_taken_by_another_is_lost_at_once() -> None:
    store, clock = LeaseStore(), Clock()
    one = candidate(store, clock, "one")
    one.step()
    assert store.lease
    store.lease["spec"]["holderIdentity"] = "two"
    assert one.step() is False and not one.holds()


def test_a_lease_given_up_is_free_at_once() -> None:
    store, clock = LeaseStore(), Clock()
    one, two = candidate(store, clock, "one"), candidate(store, clock, "two")
    one.step()
    one.release()
    assert not one.holds()
    assert two.step() and two.holds()


def test_who_is_not_ready_waits_the_lease_out_meanwhile_and_takes_it_when_it_is() -> None:
    store, clock, ready = LeaseStore(), Clock(), False
    one = candidate(store, clock, "one")
    lease = LeaseName("ns", "lease", "two")
    two = Leader(store, lease, lambda: None, may_take=lambda: ready, clock=clock)
    one.step()
    two.step()
    clock.now += 10.0
    assert two.step() and not two.holds()
    ready = True
    assert two.step() and two.holds()


def test_who_is_alone_has_seen_nobody_else_hold_the_lease() -> None:
    store, clock = LeaseStore(), Clock()
    first = candidate(store, clock, "one")
    assert not first.is_alone(), "it has not looked yet"
    first.step()
    assert first.is_alone() and first.holds()
    # The same pod's next container: the lease is still its own.
    again = candidate(store, clock, "one")
    assert again.step() and again.is_alone()
    standby = candidate(store, clock, "two")
    standby.step()
    again.release()
    standby.step()
    assert standby.holds() and not standby.is_alone()


@pytest.mark.parametrize("made_before", [True, False])
def test_who_held_it_between_two_looks_is_noticed(made_before: bool) -> None:
    store, clock = LeaseStore(), Clock()
    if made_before:
        before = candidate(store, clock, "before")
        before.step()
        before.release()
    ready: list[bool] = []
    late = Leader(
        store,
        LeaseName("ns", "lease", "late"),
        lambda: None,
        may_take=lambda: bool(ready),
        clock=clock,
    )
    late.step()
    assert late.is_alone() and not late.holds()
    other = candidate(store, clock, "other")
    other.step()
    other.release()
    ready.append(True)
    late.step()
    assert late.holds() and not late.is_alone()


def test_who_could_not_look_at_first_is_not_known_to_be_alone() -> None:
    store, clock = LeaseStore(), Clock()
    store.outcome = "down"
    one = candidate(store, clock, "one")
    assert one.step() and one.looked.is_set()
    store.outcome = "well"
    assert one.step() and one.holds() and not one.is_alone()


@settings(deadline=None, max_examples=50)
@given(st.floats(0, 2.0), st.floats(0, 2.0))
def test_a_standby_leads_within_fifteen_seconds_of_the_last_renewal(
    looked: float, renewed: float
) -> None:
    """Whenever it looked last, and however late the renewal was that it has to wait out."""
    store, clock = LeaseStore(), Clock()
    one, two = candidate(store, clock, "one"), candidate(store, clock, "two")
    one.step()
    clock.now += looked
    two.step()
    clock.now += renewed
    one.step()
    died = clock.now
    while not two.holds():
        clock.now += two.pause()
        two.step()
    # A lease of ten seconds, seen up to two after it was renewed; a try waits no longer than asked.
    assert 10.0 <= clock.now - died <= 12.3


def test_losing_the_lease_ends_the_thread_through_its_callback() -> None:
    store, clock = LeaseStore(), Clock()
    lost = threading.Event()
    leader = Leader(
        store,
        LeaseName("ns", "lease", "one"),
        lost.set,
        timing=LeaseTiming(retry=0.001),
        clock=clock,
    )
    leader.step()
    store.outcome = "down"
    clock.now += 7.0
    leader.run(threading.Event())
    assert lost.is_set()


@pytest.mark.parametrize("leads", [True, False])
def test_a_defect_ends_the_thread_through_its_callback(leads: bool) -> None:
    """A process that only looks alive would never write again, and nobody would restart it."""

    class Broken(LeaseStore):
        def get(self, kind: Kind, namespace: str, name: str, timeout: float) -> dict[str, Any]:
            if leads and self.lease is None:
                raise NotFound("no lease")
            raise ValueError("not what an API server says")

    lost = threading.Event()
    name, timing = LeaseName("ns", "lease", "one"), LeaseTiming(retry=0.001)
    leader = Leader(Broken(), name, lost.set, timing=timing, clock=Clock())
    leader.run(threading.Event())
    assert lost.is_set() and leader.acquired.is_set() == leads


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32))
def test_a_write_that_one_began_is_over_before_another_may_begin(seed: int) -> None:
    random, store, clock = Random(seed), LeaseStore(), Clock()
    leaders = {name: candidate(store, clock, name) for name in ("one", "two", "three")}
    may_write_until = dict.fromkeys(leaders, -1.0)
    for _ in range(150):
        clock.now += random.choice((0.1, 0.5, 2.0, 2.0, 7.0))
        store.outcome = random.choice(("well", "well", "well", "down", "lost answer"))
        name = random.choice(list(leaders))
        if not leaders[name].step():
            # The process ends; another of the same deployment starts in its place.
            leaders[name] = candidate(store, clock, name)
        for writer, leader in leaders.items():
            if leader.holds():
                others = [until for other, until in may_write_until.items() if other != writer]
                assert all(clock.now >= until for until in others)
                may_write_until[writer] = clock.now + WRITE_SECONDS
