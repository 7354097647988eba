"""A revision that fails is taken back, and what is said of it says what to do."""

from typing import Any

import pytest
from rollout_cases import (
    BLUE_GREEN,
    CANARY,
    CRASH,
    NEW,
    NEWEST,
    OLD,
    ROUTED,
    behind,
    failed,
    sizes,
    told,
    until,
    until_told,
    world,
)
from rollout_world import DEADLINE, RolloutWorld, rollout, wants
from serving_cluster import edited

from nacelle_operator.deployment import reasons


@pytest.mark.parametrize("strategy", [{}, BLUE_GREEN, CANARY, ROUTED])
def test_a_revision_that_crashes_is_taken_back_and_not_tried_again(strategy: Any) -> None:
    made = world(strategy, broken={NEW})
    until(made, lambda: told(made)[1] == reasons.CRASH_LOOPING)
    pod = "chat-a-5" if not strategy else "chat-b-5"
    assert told(made) == failed(reasons.CRASH_LOOPING, f"pod {pod} on node n1: {CRASH}")
    assert told(made, "Stalled") == ("True", *told(made)[1:])
    assert told(made, "Available")[:2] == ("True", reasons.REPLICAS_READY)
    before = made.made
    for _ in range(DEADLINE):
        made.round()
        assert behind(made) == {OLD: 4}
    assert sizes(made) == {"chat-a": 4}
    assert made.made <= before + 1, "nothing is started again"
    status = made.resource.status
    assert (status.current_engine, status.target_engine) == (OLD, NEW)
    assert status.rollout is not None
    assert [(r.revision, r.engine, r.outcome) for r in status.rollout.history] == [
        (2, NEW, "Failed"),
        (1, OLD, "Serving"),
    ]


def no_room(made: RolloutWorld) -> str:
    (pod,) = [p for p in made.pods if p["metadata"]["labels"]["nacelle.dev/engine"] == NEW]
    return f"pod {pod['metadata']['name']} waits: 0/1 nodes are available"


ROOM_HINTS = [
    (
        {},
        "if there is no room beside the old pods, set spec.rollout.maxUnavailable to 1: one of "
        "them then makes room",
    ),
    (
        BLUE_GREEN,
        "BlueGreen needs room for all replicas again: add nodes, or use strategy RollingUpdate "
        "with maxUnavailable 1",
    ),
    (
        CANARY,
        "if there is no room beside the old pods, set spec.rollout.maxUnavailable to 1: one of "
        "them then makes room",
    ),
    (
        ROUTED,
        "Canary with a route keeps all old pods: add nodes, or leave the route out and set "
        "spec.rollout.maxUnavailable to 1",
    ),
]


@pytest.mark.parametrize(("strategy", "hint"), ROOM_HINTS)
def test_without_room_it_says_the_way_through(strategy: Any, hint: str) -> None:
    made = world(strategy, replicas=1, room=1)
    made.round()
    made.round()
    waits = no_room(made)
    assert told(made) == ("False", reasons.NO_MATCHING_NODE, f"{waits}; {hint}")
    until_told(made, reasons.ROLLOUT_STUCK)
    why = f"no progress within 600 s: {waits}; {hint}"
    assert told(made) == failed(reasons.ROLLOUT_STUCK, why)
    assert behind(made) == {OLD: 1}


@pytest.mark.parametrize("strategy", [{}, CANARY])
def test_the_way_through_without_room_leads_through(strategy: Any) -> None:
    made = world(strategy, replicas=2, room=2)
    until_told(made, reasons.ROLLOUT_STUCK)
    rollout(made, maxUnavailable=1, promote="3")
    until_told(made, reasons.SERVING)
    assert behind(made) == {NEW: 2}
    assert made.resource.status.rollout is not None
    assert made.resource.status.rollout.revision == 3


RETRIES = [
    lambda made: rollout(made, progressDeadlineSeconds=700),
    lambda made: made.resource and _edit_pods(made),
    lambda made: (wants(made, 0), made.round(), wants(made, 1)),
]


def _edit_pods(made: RolloutWorld) -> None:
    made.resource = edited(made.resource, pod={"labels": {"try": "2"}})


@pytest.mark.parametrize("retry", RETRIES)
def test_what_has_failed_is_tried_again_once_something_has_changed(retry: Any) -> None:
    made = world({}, broken={NEW})
    until_told(made, reasons.CRASH_LOOPING)
    made.resource = edited(made.resource, replicas=3)
    made.round()
    assert told(made)[1] == reasons.CRASH_LOOPING, "a number is no reason to try again"
    made.broken = set()
    retry(made)
    until_told(made, reasons.SERVING)
    assert made.resource.status.rollout is not None
    assert made.resource.status.rollout.revision == 3


def test_the_limit_of_revisions_spares_those_in_use() -> None:
    made = world({"revisionHistoryLimit": 0})
    until_told(made, reasons.SERVING)
    made.look()
    assert made.resource.status.current_engine == NEW
    kept = {name for kind, name in made.objects if kind == "ControllerRevision"}
    assert kept == {"chat-2"}
    made.broken = {NEWEST}
    wants(made, 2)
    until_told(made, reasons.CRASH_LOOPING)
    kept = {name for kind, name in made.objects if kind == "ControllerRevision"}
    assert kept == {"chat-2", "chat-3"}, "what serves, and what must not be tried again"
