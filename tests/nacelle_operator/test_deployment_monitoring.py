"""A PodMonitor's life: made, remembered, changed and gone, though nobody watches the kind."""

from typing import Any

import pytest
from serving_cases import LATER, NOW, OLD, deployment, surroundings
from serving_cluster import ServingCluster, at_rest, edited

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.conditions import Verdict, find
from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.monitoring import decide_monitoring
from nacelle_operator.deployment.plan import plan
from nacelle_operator.kinds import POD_MONITOR
from nacelle_operator.objects.pod_monitor import pod_monitor
from nacelle_operator.plan import Deletion, Event
from nacelle_operator.seen import Seen

MONITOR = "PodMonitor"
PLACE = (MONITOR, "chat")
LABELS = {"release": "prometheus"}


def monitored(**spec: Any) -> InferenceDeployment:
    return deployment(**{"monitoring": {"podMonitor": {"labels": LABELS}}, **spec})


def monitor(**metadata: Any) -> dict[str, Any]:
    """The PodMonitor as it was made for `monitored()`."""
    made = pod_monitor(monitored(), LABELS)
    return {**made, "metadata": {**made["metadata"], "uid": "m-uid", **metadata}}


def seen(found: dict[str, Any]) -> dict[str, Any]:
    return {"unwatched": {POD_MONITOR: Seen(True, found)}}


STRANGER = monitor(ownerReferences=[])
UNKNOWN = (
    "False",
    reasons.POD_MONITOR_UNAVAILABLE,
    "the cluster does not know monitoring.coreos.com/v1 PodMonitor: install the Prometheus "
    "Operator, or take spec.monitoring.podMonitor away",
)
TAKEN = (
    "False",
    reasons.POD_MONITOR_NAME_TAKEN,
    "PodMonitor chat is not this resource's: delete it, or take spec.monitoring.podMonitor away",
)
CASES: dict[str, tuple[InferenceDeployment, dict[str, Any], bool, Any]] = {
    "not asked for": (deployment(), {}, True, None),
    "no longer asked for": (deployment(), seen(monitor()), True, None),
    "no such kind": (monitored(), {"unwatched": {POD_MONITOR: Seen(False)}}, True, UNKNOWN),
    "no such kind and no engine": (
        monitored(),
        {"unwatched": {POD_MONITOR: Seen(False)}},
        False,
        UNKNOWN,
    ),
    "somebody else's": (monitored(), seen(STRANGER), True, TAKEN),
    "no engine yet": (
        monitored(),
        {},
        False,
        (
            "Unknown",
            reasons.POD_MONITOR_PENDING,
            "PodMonitor chat is made as soon as there is an engine to serve",
        ),
    ),
    "not made yet": (
        monitored(),
        {},
        True,
        ("Unknown", reasons.POD_MONITOR_PENDING, "PodMonitor chat is being made"),
    ),
    "made": (
        monitored(),
        seen(monitor()),
        True,
        (
            "True",
            reasons.POD_MONITOR_IN_PLACE,
            "PodMonitor chat is in place, for a Prometheus whose podMonitorSelector takes its "
            "labels",
        ),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_told(case: str) -> None:
    resource, fields, is_serving, wanted = CASES[case]
    decision = decide_monitoring(resource, surroundings(OLD, **fields), is_serving=is_serving)
    assert decision.verdict == (wanted and Verdict("Monitoring", *wanted))


def remembers(world: ServingCluster) -> bool:
    annotations = world.objects["Service", "chat"]["metadata"].get("annotations", {})
    return bool(annotations == {"nacelle.dev/pod-monitor": "chat"})


def test_it_is_created_without_labels_which_an_apply_adds_and_takes_away() -> None:
    """A create's fields would stay for ever: an apply takes away what an apply has set."""
    (created,) = plan(monitored(), surroundings(OLD), NOW).creates
    assert created == pod_monitor(monitored(), {})
    assert "release" not in created["metadata"]["labels"]
    applied = plan(monitored(), surroundings(OLD, **seen(monitor())), NOW).objects[-1]
    assert applied == monitor()


def test_the_service_remembers_it_before_it_is_made_and_until_it_is_seen_to_be_gone() -> None:
    made = plan(monitored(), surroundings(OLD), NOW)
    (service,) = (manifest for manifest in made.objects if manifest["kind"] == "Service")
    assert service["metadata"]["annotations"] == {"nacelle.dev/pod-monitor": "chat"}, (
        "objects are applied before any is created"
    )
    world = at_rest(monitored())
    assert remembers(world)
    world.resource = edited(world.resource, monitoring={})
    made = world.reconcile(LATER)
    assert made.deletes == (Deletion("monitoring.coreos.com/v1", MONITOR, "chat", str(PLACE)),)
    assert made.requeue_seconds == 5.0, "no watch tells that it has gone"
    assert remembers(world)
    rest = world.settle(LATER)
    assert not remembers(world)
    assert (rest.deletes, rest.requeue_seconds) == ((), None)
    assert PLACE not in world.objects
    assert find(world.resource.status.conditions, "Monitoring") is None


def test_without_the_kind_everything_else_goes_on() -> None:
    world = at_rest(deployment(replicas=2))
    world.unknown.add(POD_MONITOR)
    world.resource = edited(world.resource, monitoring={"podMonitor": {}}, replicas=3)
    made = world.reconcile(LATER)
    assert made.creates == ()
    assert Event("Warning", UNKNOWN[1], UNKNOWN[2]) in made.events
    rest = world.settle(LATER)
    statuses = {c.type: c.status for c in world.resource.status.conditions}
    assert statuses == {"Ready": "True", "Available": "True", "Monitoring": "False"}
    assert world.resource.status.ready_replicas == 3
    assert rest.events == (), "told once"
    assert rest.requeue_seconds == 60.0, "no watch tells that the kind has come"
    world.unknown.clear()
    assert world.settle(LATER).requeue_seconds is None
    assert PLACE in world.objects


def test_it_follows_the_spec_and_restarts_no_pod() -> None:
    world = at_rest(deployment())
    world.resource = edited(world.resource, monitoring={"podMonitor": {"labels": LABELS}})
    world.settle(LATER)
    assert world.objects[PLACE]["metadata"]["labels"]["release"] == "prometheus"
    assert world.restarts == 0
    world.resource = edited(
        world.resource,
        monitoring={"podMonitor": {"labels": {"team": "x"}}},
        frontends={"triton": {"enabled": True}},
    )
    world.settle(LATER)
    wanted = pod_monitor(world.resource, {"team": "x"})
    assert world.objects[PLACE]["spec"] == wanted["spec"]
    assert world.objects[PLACE]["metadata"]["labels"] == wanted["metadata"]["labels"]


def test_a_strangers_is_left_alone_with_or_without_the_wish() -> None:
    observed = surroundings(OLD, **seen(STRANGER))
    made = plan(monitored(), observed, NOW)
    touched = [m for m in (*made.objects, *made.creates) if m["kind"] == MONITOR]
    assert (touched, made.deletes) == ([], ())
    made = plan(deployment(), observed, NOW)
    assert made.deletes == ()
    (service,) = (manifest for manifest in made.objects if manifest["kind"] == "Service")
    assert "annotations" not in service["metadata"], "there is nothing of ours to remember"
