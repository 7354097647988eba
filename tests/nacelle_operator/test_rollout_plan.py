"""Rollouts step by step: who serves, what is told, and in exactly which words."""

from collections.abc import Callable
from typing import Any

import pytest
from rollout_world import DEADLINE, NAMES, RolloutWorld, rollout, serving, wants
from serving_cases import deployment
from serving_cluster import edited

from nacelle_operator.conditions import find
from nacelle_operator.deployment import reasons
from nacelle_operator.objects.tally import Tally

OLD, NEW, NEWEST = NAMES
BLUE_GREEN = {"strategy": "BlueGreen"}
STEPS = [{"weightPercent": 25, "pause": "30s"}, {"weightPercent": 50}]
CANARY = {"strategy": "Canary", "canary": {"steps": STEPS}}
ROUTED = {
    "strategy": "Canary",
    "canary": {"steps": STEPS, "route": {"parentRefs": [{"name": "gate"}]}},
}
CRASH = "ended 2 times, the last time with exit code 1 (Error)"


def world(strategy: Any, replicas: int = 4, **fields: Any) -> RolloutWorld:
    """The first engine, served, and the second one just asked for."""
    first = deployment(engine={"engineRef": {"name": OLD}}, replicas=replicas, rollout=strategy)
    made = serving(first, **fields)
    wants(made, 1)
    return made


def told(made: RolloutWorld, type_: str = "Ready") -> tuple[str, str, str]:
    found = find(made.resource.status.conditions, type_)
    assert found is not None
    return found.status, found.reason, found.message


def until(made: RolloutWorld, holds: Callable[[], bool], rounds: int = 60) -> None:
    for _ in range(rounds):
        made.round()
        if holds():
            return
    raise AssertionError(made.resource.status)


def until_told(made: RolloutWorld, *wanted: str) -> None:
    until(made, lambda: told(made)[1] in wanted)


def behind(made: RolloutWorld) -> dict[str, int]:
    """The pods that get requests, by engine."""
    found = [pod.engine for pod in made.selected()]
    return {engine: found.count(engine) for engine in sorted(set(found))}


def sizes(made: RolloutWorld) -> dict[str, int]:
    return {
        name: m["spec"]["replicas"]
        for (kind, name), m in made.objects.items()
        if kind == "Deployment"
    }


def failed(reason: str, why: str) -> tuple[str, str, str]:
    return (
        "False",
        reason,
        f"revision 2 with Engine {NEW} failed, and revision 1 with Engine {OLD} serves on; change "
        f"the spec or the engine, and it is tried again: {why}",
    )


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


def weights(made: RolloutWorld) -> dict[str, int]:
    (rule,) = made.objects["HTTPRoute", "chat"]["spec"]["rules"]
    return {backend["name"]: backend["weight"] for backend in rule["backendRefs"]}


def say(made: RolloutWorld, type_: str, status: str, **said: str) -> None:
    """The Gateway says something of the route."""
    conditions = [{"type": type_, "status": status, **said}]
    made.objects["HTTPRoute", "chat"]["status"] = {"parents": [{"conditions": conditions}]}


def test_a_route_weighs_and_the_old_pods_stay() -> None:
    made = world(ROUTED)
    assert weights(made) == {"chat-a": 100, "chat-b": 0}
    until(made, lambda: weights(made) == {"chat-a": 75, "chat-b": 25})
    assert sizes(made) == {"chat-a": 4, "chat-b": 1}
    assert behind(made) == {OLD: 4}, "the Service itself stays with the old pods"
    until_told(made, reasons.WAITING_FOR_PROMOTION)
    assert weights(made) == {"chat-a": 50, "chat-b": 50}
    assert sizes(made) == {"chat-a": 4, "chat-b": 2}
    rollout(made, promote="2")
    until_told(made, reasons.SERVING)
    assert weights(made) == {"chat-a": 0, "chat-b": 100}
    assert sizes(made) == {"chat-b": 4}
    services = {name for kind, name in made.objects if kind == "Service"}
    assert services == {"chat", "chat-a", "chat-b"}


def test_a_step_gets_its_weight_only_when_its_pods_are_ready() -> None:
    made = world(ROUTED, broken={NEW})
    for _ in range(DEADLINE):
        made.round()
        assert weights(made) == {"chat-a": 100, "chat-b": 0}


ROUTE_CASES = [
    (
        lambda made: None,
        reasons.ROUTE_PENDING,
        "HTTPRoute chat waits to be taken by a Gateway: see that "
        "spec.rollout.canary.route.parentRefs names one that runs",
    ),
    (
        lambda made: say(made, "Accepted", "False", reason="NoMatchingParent", message="none"),
        reasons.ROUTE_NOT_ACCEPTED,
        "HTTPRoute chat: NoMatchingParent: none",
    ),
    (
        lambda made: made.objects["HTTPRoute", "chat"]["metadata"].update(ownerReferences=[]),
        reasons.ROUTE_NAME_TAKEN,
        "HTTPRoute chat is not this resource's: delete it, or take spec.rollout.canary.route away",
    ),
    (
        lambda made: setattr(made, "knows_routes", False),
        reasons.ROUTE_UNAVAILABLE,
        "the cluster does not know gateway.networking.k8s.io/v1 HTTPRoute: install the Gateway "
        "API, or take spec.rollout.canary.route away",
    ),
]


@pytest.mark.parametrize(("spoil", "reason", "message"), ROUTE_CASES)
def test_a_canary_waits_for_its_route(spoil: Any, reason: str, message: str) -> None:
    made = world(ROUTED)
    made.round()
    made.has_gateway = False
    made.objects["HTTPRoute", "chat"].pop("status")
    spoil(made)
    until_told(made, reason)
    assert told(made)[2] == message
    for _ in range(5):
        assert made.round().requeue_seconds == 5.0
    assert made.resource.status.rollout is not None
    assert made.resource.status.rollout.step == 1


def test_the_route_and_its_services_go_with_the_wish() -> None:
    made = world(ROUTED)
    rollout(made, strategy="RollingUpdate", canary=None)
    until_told(made, reasons.SERVING)
    assert behind(made) == {NEW: 4}
    assert not [name for kind, name in made.objects if kind == "HTTPRoute"]
    assert {name for kind, name in made.objects if kind == "Service"} == {"chat"}


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


BOUNDS = {"maxErrorPercent": 5, "maxTimeToFirstTokenMilliseconds": 400}
BEFORE = Tally(1000, 500, 1000, 900_000)


def measured(**strategy: Any) -> RolloutWorld:
    """A canary at its first step, with counts from before; its checks want 20 requests."""
    made = world({**CANARY, **strategy, "checks": BOUNDS})
    made.tally = BEFORE
    until(made, lambda: "step 1 of 2" in told(made)[2])
    return made


CHECK_CASES = [
    (
        Tally(100, 6, 100, 0),
        "6 of 100 requests of this step were refused: more than "
        "spec.rollout.checks.maxErrorPercent, 5",
    ),
    (
        Tally(100, 5, 50, 20_050),
        "first tokens took 401 ms on average over 50 requests of this step: more than "
        "spec.rollout.checks.maxTimeToFirstTokenMilliseconds, 400",
    ),
]


@pytest.mark.parametrize(("counted", "why"), CHECK_CASES)
def test_a_step_that_measures_badly_fails(counted: Tally, why: str) -> None:
    made = measured()
    made.tally = BEFORE + counted
    made.round()
    assert told(made) == failed(reasons.CHECKS_FAILED, why)
    until(made, lambda: behind(made) == {OLD: 4} and sizes(made) == {"chat-a": 4})


@pytest.mark.parametrize(
    "counted",
    [Tally(100, 5, 100, 40_000), Tally(19, 19, 19, 999_999), Tally()],
    ids=["within bounds", "too few to tell", "nothing"],
)
def test_a_step_that_measures_well_is_passed(counted: Tally) -> None:
    made = measured()
    made.tally = BEFORE + counted
    until(made, lambda: "step 2 of 2" in told(made)[2])


def test_no_step_begins_or_ends_unmeasured() -> None:
    unknown = (
        "revision 2 waits for spec.rollout.checks: the operator cannot read /metrics of its pods; "
        "let its pod reach theirs, or take spec.rollout.checks away"
    )
    made = world({**CANARY, "checks": BOUNDS})
    until_told(made, reasons.METRICS_UNKNOWN)
    assert told(made)[2] == unknown
    assert made.round().requeue_seconds == 10.0
    made.tally = BEFORE
    until(made, lambda: "step 1 of 2" in told(made)[2])
    made.tally = None
    for _ in range(DEADLINE):
        made.round()
    assert told(made)[2] == unknown
    assert behind(made) == {OLD: 3, NEW: 1}


def test_blue_green_is_measured_after_the_switch() -> None:
    green = {"strategy": "BlueGreen", "blueGreen": {"scaleDownDelay": "1m"}, "checks": BOUNDS}
    made = world(green)
    made.tally = Tally()
    until(made, lambda: behind(made) == {NEW: 4})
    made.tally = Tally(20, 2, 20, 10)
    made.look()
    assert behind(made) == {OLD: 4}
    assert told(made)[1] == reasons.CHECKS_FAILED
