"""Rollouts step by step: who serves, what is told, in exactly which words."""

from typing import Any

import pytest
from rollout_cases import (
    BLUE_GREEN,
    CANARY,
    NEW,
    NEWEST,
    OLD,
    behind,
    sizes,
    told,
    until,
    until_told,
    world,
)
from rollout_world import DEADLINE, RolloutWorld, rollout, serving, wants
from serving_cases import deployment
from serving_cluster import edited

from nacelle_operator.deployment import reasons


def test_blue_green_switches_all_at_once_and_keeps_the_old_pods_for_a_while() -> None:
    made = world({**BLUE_GREEN, "blueGreen": {"pause": "20s", "scaleDownDelay": "40s"}})
    switched: list[str] = []
    for _ in range(20):
        made.look()
        assert len(behind(made)) == 1, "never a mixture"
        switched += [engine for engine in behind(made) if engine not in switched]
        made.controllers()
        if told(made)[1] == reasons.SERVING:
            break
    assert switched == [OLD, NEW]
    assert sizes(made) == {"chat-b": 4}


def test_blue_green_says_when_it_goes_on() -> None:
    made = world({**BLUE_GREEN, "blueGreen": {"pause": "20s", "scaleDownDelay": "40s"}})
    said = []
    while told(made)[1] != reasons.SERVING or made.resource.status.current_engine != NEW:
        made.round()
        said += [told(made)[2]] if told(made)[2] not in said else []
    assert said == [
        f"0 of 4 pods of revision 2 are ready with Engine {NEW}, 4 pods answer requests",
        f"3 of 4 pods of revision 2 are ready with Engine {NEW}, 4 pods answer requests",
        "all 4 pods of revision 2 are ready, the switch is at 2026-11-24T12:01:30Z",
        "revision 2 serves, the pods before it stay until 2026-11-24T12:02:10Z",
        f"4 of 4 replicas run Engine {NEW}, 4 pods answer",
        f"all 4 replicas serve Engine {NEW}",
    ]


def test_the_way_back_is_one_switch_while_the_old_pods_are_there() -> None:
    made = world({**BLUE_GREEN, "blueGreen": {"scaleDownDelay": "1h"}})
    until(made, lambda: behind(made) == {NEW: 4})
    wants(made, 0)
    made.look()
    assert behind(made) == {OLD: 4}
    until_told(made, reasons.SERVING)
    status = made.resource.status.rollout
    assert status is not None
    assert [(r.revision, r.outcome) for r in status.history] == [(2, "Superseded"), (1, "Serving")]


def test_new_pods_that_fail_after_the_switch_are_switched_back() -> None:
    made = world({**BLUE_GREEN, "blueGreen": {"scaleDownDelay": "1h"}})
    until(made, lambda: behind(made) == {NEW: 4})
    made.broken = {NEW}
    until_told(made, reasons.CRASH_LOOPING)
    assert behind(made) == {OLD: 4}
    assert sizes(made) == {"chat-a": 4}


def test_promotion_by_hand() -> None:
    made = world({**BLUE_GREEN, "blueGreen": {"autoPromote": False}})
    until_told(made, reasons.WAITING_FOR_PROMOTION)
    assert told(made)[2] == (
        "all 4 pods of revision 2 are ready and get no requests: set spec.rollout.promote to "
        '"2" to switch to them'
    )
    rollout(made, promote="1")
    made.round()
    assert told(made)[1] == reasons.WAITING_FOR_PROMOTION, "of another revision"
    rollout(made, promote="2")
    until_told(made, reasons.SERVING)
    assert behind(made) == {NEW: 4}
    wants(made, 2)
    until_told(made, reasons.WAITING_FOR_PROMOTION)


def test_a_canary_goes_from_step_to_step() -> None:
    made = world(CANARY)
    seen = []
    until(
        made,
        lambda: (
            seen.append((behind(made), told(made)[2]))  # type: ignore[func-returns-value]
            or told(made)[1] == reasons.WAITING_FOR_PROMOTION
        ),
    )
    assert ({NEW: 1, OLD: 3}, "revision 2 is at step 1 of 2, 25 %, until 2026-11-24T12:01:30Z") in (
        seen
    )
    assert told(made)[2] == (
        'revision 2 is at step 2 of 2, 50 %: set spec.rollout.promote to "2/2" for the next step, '
        'or to "2" for all that is left'
    )
    until(made, lambda: behind(made) == {NEW: 2, OLD: 2})
    made.look()
    status = made.resource.status
    assert status.rollout is not None
    assert (status.rollout.step, status.rollout.weight_percent) == (2, 50)
    assert status.selector == "nacelle.dev/inference-deployment=chat"
    assert (status.replicas, status.ready_replicas) == (4, 4)
    rollout(made, promote="2/2")
    until_told(made, reasons.SERVING)
    assert behind(made) == {NEW: 4}
    assert sizes(made) == {"chat-b": 4}


@pytest.mark.parametrize("strategy", [{}, BLUE_GREEN, CANARY])
def test_a_newer_spec_is_gone_to_straight(strategy: Any) -> None:
    made = world(strategy)
    made.round()
    made.round()
    wants(made, 2)
    made.look()
    started = made.made
    until_told(made, reasons.SERVING, reasons.WAITING_FOR_PROMOTION)
    rollout(made, promote="3")
    until_told(made, reasons.SERVING)
    later = {p.engine for p in made.fleet if int(p.name.rpartition("-")[2]) > started}
    assert later == {NEWEST}
    status = made.resource.status.rollout
    assert status is not None
    assert [(r.revision, r.outcome) for r in status.history] == [
        (3, "Serving"),
        (2, "Superseded"),
        (1, "Replaced"),
    ]


@pytest.mark.parametrize("strategy", [{}, BLUE_GREEN, CANARY])
def test_paused_nothing_moves_and_numbers_follow(strategy: Any) -> None:
    made = world(strategy)
    rollout(made, paused=True)
    for _ in range(4):
        made.round()
    assert told(made)[1:] == (
        reasons.ROLLOUT_PAUSED,
        "spec.rollout.paused is true: what the spec asks for is rolled out when it is false",
    )
    assert behind(made) == {OLD: 4}
    made.resource = edited(made.resource, replicas=5)
    until(made, lambda: behind(made) == {OLD: 5})
    rollout(made, paused=False)
    made.round()
    made.round()
    rollout(made, paused=True)
    for _ in range(8):
        made.round()
    before = sizes(made), behind(made)
    for _ in range(DEADLINE * 2):
        made.round()
    assert (sizes(made), behind(made)) == before
    assert OLD in behind(made)
    assert told(made)[1:] == (
        reasons.ROLLOUT_PAUSED,
        "spec.rollout.paused is true: revision 2 goes on when it is false",
    )
    rollout(made, paused=False, promote="2")
    until_told(made, reasons.SERVING)


def test_paused_before_anything_serves() -> None:
    first = deployment(engine={"engineRef": {"name": OLD}}, rollout={"paused": True})
    made = RolloutWorld(resource=first)
    made.engines = serving(deployment(engine={"engineRef": {"name": OLD}})).engines
    made.round()
    assert made.objects == {}
    assert told(made)[1:] == (
        reasons.ROLLOUT_PAUSED,
        "spec.rollout.paused is true: the first revision starts when it is false",
    )


def test_a_canary_of_one_pod_without_room_for_another_takes_the_old_ones_place() -> None:
    made = world({**CANARY, "maxSurge": 0, "maxUnavailable": 1}, 1)
    until_told(made, reasons.WAITING_FOR_PROMOTION)
    assert behind(made) == {NEW: 1}
    assert sizes(made) == {"chat-b": 1}
    wants(made, 0)
    until_told(made, reasons.SERVING)
    assert behind(made) == {OLD: 1}
