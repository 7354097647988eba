"""A NetworkPolicy's life: when it is made, what is told of it; no stranger's is touched."""

from typing import Any

import pytest
from serving_cases import LATER, NOW, OLD, deployment, surroundings
from serving_cluster import at_rest, edited

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.conditions import Verdict, find
from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.network import decide_network
from nacelle_operator.deployment.plan import plan
from nacelle_operator.objects.network_policy import network_policy
from nacelle_operator.plan import Deletion, Event

POLICY = "NetworkPolicy"
PLACE = (POLICY, "chat")


def restricted(**spec: Any) -> InferenceDeployment:
    return deployment(**{"network": {"policy": "Restricted"}, **spec})


def policy(**metadata: Any) -> dict[str, Any]:
    """The policy as it was made for `restricted()`."""
    made = network_policy(restricted())
    return {**made, "metadata": {**made["metadata"], "uid": "n-uid", **metadata}}


STRANGER = policy(ownerReferences=[])
TAKEN = (
    "False",
    reasons.NETWORK_POLICY_NAME_TAKEN,
    "NetworkPolicy chat is not this resource's, and the pods are not restricted by it: delete it, "
    "or set spec.network.policy to Open",
)
CASES: dict[str, tuple[InferenceDeployment, Any, bool, Any]] = {
    "not asked for": (deployment(), None, True, None),
    "no longer asked for": (deployment(), policy(), True, None),
    "no engine yet": (
        restricted(),
        None,
        False,
        (
            "Unknown",
            reasons.NETWORK_POLICY_PENDING,
            "NetworkPolicy chat is made as soon as there is an engine to serve",
        ),
    ),
    "not made yet": (
        restricted(),
        None,
        True,
        ("Unknown", reasons.NETWORK_POLICY_PENDING, "NetworkPolicy chat is being made"),
    ),
    "made": (
        restricted(),
        policy(),
        True,
        (
            "True",
            reasons.NETWORK_POLICY_IN_PLACE,
            "NetworkPolicy chat is in place, for the cluster's network plugin to enforce",
        ),
    ),
    "somebody else's": (restricted(), STRANGER, True, TAKEN),
    "one of a namesake that is gone": (
        restricted(),
        policy(ownerReferences=[{"uid": "old", "controller": True}]),
        True,
        TAKEN,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_told(case: str) -> None:
    resource, present, is_serving, wanted = CASES[case]
    observed = surroundings(OLD, network_policy=present)
    found = decide_network(resource, observed, is_serving=is_serving).verdict
    assert found == (wanted and Verdict("NetworkRestricted", *wanted))


def test_it_comes_before_the_first_pod_and_alone() -> None:
    """So one that the API server refuses lets no pod run without it."""
    made = plan(restricted(), surroundings(OLD), NOW)
    (created,) = made.creates
    assert created == network_policy(restricted())
    assert (made.objects, made.deletes, made.status, made.events) == ((), (), None, ())
    assert made.requeue_seconds == 5.0
    then = plan(restricted(), surroundings(OLD, network_policy=policy()), NOW)
    kinds = [manifest["kind"] for manifest in then.objects]
    assert kinds == ["ControllerRevision", POLICY, "Deployment", "Service"]
    assert then.objects[1]["metadata"]["uid"] == "n-uid"


def test_pods_that_are_there_get_it_without_a_restart() -> None:
    world = at_rest(deployment(replicas=2))
    before = world.objects["Deployment", "chat-a"]["spec"]
    world.resource = edited(world.resource, network={"policy": "Restricted"})
    made = world.reconcile(LATER)
    assert [manifest["kind"] for manifest in made.creates] == [POLICY]
    rest = world.settle(LATER)
    found = find(world.resource.status.conditions, "NetworkRestricted")
    assert found and found.status == "True"
    assert rest.requeue_seconds is None
    assert world.objects["Deployment", "chat-a"]["spec"] == before
    assert world.restarts == 0


def test_it_follows_the_frontends_and_what_the_spec_adds() -> None:
    world = at_rest(restricted())
    rule = {"ports": [{"protocol": "TCP", "port": 4318}]}
    world.resource = edited(
        world.resource,
        network={"policy": "Restricted", "egress": [rule]},
        frontends={"triton": {"enabled": True}},
    )
    world.settle(LATER)
    assert world.objects[PLACE]["spec"] == network_policy(world.resource)["spec"]


def test_it_goes_with_the_wish_and_restarts_no_pod() -> None:
    world = at_rest(restricted())
    assert PLACE in world.objects
    world.resource = edited(world.resource, network={"policy": "Open"})
    made = world.reconcile(LATER)
    uid = str(PLACE)
    assert made.deletes == (Deletion("networking.k8s.io/v1", POLICY, "chat", uid),)
    world.settle(LATER)
    assert find(world.resource.status.conditions, "NetworkRestricted") is None
    assert world.restarts == 0


def test_a_strangers_is_left_alone_with_or_without_the_wish() -> None:
    observed = surroundings(OLD, network_policy=STRANGER)
    made = plan(restricted(), observed, NOW)
    touched = [m for m in (*made.objects, *made.creates) if m["kind"] == POLICY]
    assert (touched, made.deletes) == ([], ())
    assert made.requeue_seconds == 60.0, "it bears no label to be watched by"
    assert Event("Warning", TAKEN[1], TAKEN[2]) in made.events
    assert plan(deployment(), observed, NOW).deletes == ()
