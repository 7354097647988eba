"""A canary by a route: weights, what stands in its way, and that no stranger's is touched."""

from typing import Any

import pytest
from rollout_cases import NEW, OLD, ROUTED, behind, sizes, told, until, until_told, world
from rollout_world import DEADLINE, RolloutWorld, rollout

from nacelle_operator.deployment import reasons


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


def test_a_step_gets_its_weight_only_when_its_service_knows_its_pods() -> None:
    """A Gateway answers 503 for a Service without endpoints, and pods are ready before those."""
    made = world(ROUTED, lists_endpoints=False)
    until(made, lambda: any(pod.ready and pod.engine == NEW for pod in made.fleet))
    for _ in range(5):
        made.round()
        assert weights(made) == {"chat-a": 100, "chat-b": 0}
        assert made.resource.status.rollout is not None
        assert made.resource.status.rollout.step == 1
    made.lists_endpoints = True
    until(made, lambda: weights(made) == {"chat-a": 75, "chat-b": 25})


def test_a_route_given_to_a_rollout_by_numbers_leaves_its_pods_in_service() -> None:
    all_new = {"strategy": "Canary", "canary": {"steps": [{"weightPercent": 100}]}}
    made = world({**all_new, "maxUnavailable": 2})
    until_told(made, reasons.WAITING_FOR_PROMOTION)
    assert sizes(made) == {"chat-b": 4}
    rollout(made, **ROUTED)
    for _ in range(12):
        made.look()
        assert sum(behind(made).values()) >= 2
        backends = weights(made)
        listed = made.objects.get(("EndpointSlice", "chat-a-ipv4"))
        if listed and not any(one["conditions"]["ready"] for one in listed["endpoints"]):
            assert backends == {"chat-a": 0, "chat-b": 100}
        made.controllers()
    assert behind(made) == {OLD: 4}
    assert weights(made) == {"chat-a": 50, "chat-b": 50}


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
