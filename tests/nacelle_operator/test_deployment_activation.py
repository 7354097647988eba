"""Scale to zero and back: who answers at each moment, and that being asleep is healthy."""

from typing import Any

import pytest
from serving_cases import LATER, NOW, deployment
from serving_cluster import ServingCluster, at_rest, edited

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.conditions import find
from nacelle_operator.kinds import SCALED_OBJECT
from nacelle_operator.objects.activator import activator

IMAGE = "operator:1"
WISH = {
    "provider": "KEDA",
    "minReplicas": 0,
    "maxReplicas": 4,
    "metrics": [{"type": "QueuedRequests"}],
    "prometheus": {"serverAddress": "http://prometheus:9090"},
}
PODS = {"nacelle.dev/inference-deployment": "chat", "nacelle.dev/slot": "a"}
ACTIVATOR = {"nacelle.dev/activator": "chat"}
PLACES = {("Deployment", "chat-activator"), ("Service", "chat-activator")}
POLICY = ("NetworkPolicy", "chat-activator")
READY = {"conditions": [{"type": "Ready", "status": "True", "reason": "r", "message": "m"}]}


def serving(**spec: Any) -> ServingCluster:
    """Awake, with one pod that answers and a ScaledObject that works."""
    world = at_rest(deployment(replicas=1))
    world.activator_image = IMAGE
    world.resource = edited(world.resource, autoscaling=WISH, **spec)
    world.settle(NOW)
    world.objects["ScaledObject", "chat"]["status"] = READY
    world.settle(NOW)
    return world


def selector(world: ServingCluster) -> Any:
    return world.objects["Service", "chat"]["spec"]["selector"]


def statuses(resource: InferenceDeployment) -> dict[str, str]:
    return {c.type: c.status for c in resource.status.conditions}


def told(world: ServingCluster, type_: str = "Ready") -> tuple[str, str]:
    found = find(world.resource.status.conditions, type_)
    assert found
    return found.reason, found.message


def lose_pods(world: ServingCluster) -> None:
    """Those pods go that are no longer asked for; of the others none answers."""
    kept = world.objects["Deployment", "chat-a"]["spec"]["replicas"]
    world.pods = [{**pod, "status": {"conditions": []}} for pod in world.pods[:kept]]
    status = world.objects["Deployment", "chat-a"]["status"]
    status |= {"replicas": kept, "readyReplicas": 0, "updatedReplicas": kept}


def test_awake_the_pods_answer_and_the_activator_stands_by() -> None:
    world = serving()
    assert world.objects.keys() >= PLACES
    assert POLICY not in world.objects
    assert selector(world) == PODS
    assert statuses(world.resource) == dict.fromkeys(("Ready", "Available", "Autoscaling"), "True")
    assert world.settle(LATER).requeue_seconds is None


def test_it_falls_asleep_without_a_moment_in_which_nobody_answers() -> None:
    world = serving()
    world.resource = edited(world.resource, replicas=0)
    made = world.reconcile(LATER)
    order = [(m["kind"], m["metadata"]["name"]) for m in made.objects]
    assert order.index(("Service", "chat")) < order.index(("Deployment", "chat-a")), (
        "requests are led elsewhere before the pod is told to go"
    )
    assert selector(world) == ACTIVATOR
    assert world.objects["Deployment", "chat-a"]["spec"]["replicas"] == 0
    rest = world.settle(LATER)
    assert (rest.requeue_seconds, rest.events) == (None, ())
    assert statuses(world.resource) == {
        "Ready": "True",
        "Available": "False",
        "Autoscaling": "True",
    }
    engine = world.resource.status.target_engine
    assert told(world) == (
        "ScaledToZero",
        f"asleep: a request wakes it, and Engine {engine} is served then",
    )
    assert told(world, "Available") == ("ScaledToZero", "asleep until a request comes")
    assert world.resource.status.selector == ",".join(f"{k}={v}" for k, v in PODS.items())
    assert world.restarts == 0


def test_it_wakes_and_the_pod_gets_requests_once_it_answers() -> None:
    world = serving()
    world.resource = edited(world.resource, replicas=0)
    world.settle(LATER)
    world.resource = edited(world.resource, replicas=1)
    for _ in range(3):
        world.reconcile(LATER)
        lose_pods(world)
        assert selector(world) == ACTIVATOR, "the pod still loads"
    assert world.objects["Deployment", "chat-a"]["spec"]["replicas"] == 1
    assert statuses(world.resource)["Ready"] == "False"
    world.settle(LATER)
    assert selector(world) == PODS
    assert told(world)[0] == "Serving"
    assert world.restarts == 0


def test_when_all_pods_are_lost_the_activator_answers_too() -> None:
    world = serving(replicas=2)
    lose_pods(world)
    world.reconcile(LATER)
    assert selector(world) == ACTIVATOR
    world.settle(LATER)
    assert selector(world) == PODS


def test_a_new_engine_is_rolled_out_asleep_and_served_when_it_wakes() -> None:
    world = serving()
    world.resource = edited(world.resource, replicas=0)
    world.settle(LATER)
    world.resource = edited(world.resource, runtime={"maxBatchSize": 1})
    world.settle(LATER)
    assert world.resource.status.rollout
    assert world.resource.status.rollout.revision == 2
    assert selector(world) == ACTIVATOR
    world.resource = edited(world.resource, replicas=1)
    world.settle(LATER)
    assert told(world)[0] == "Serving"
    assert world.pods[0]["metadata"]["labels"]["nacelle.dev/revision"] == "2"


@pytest.mark.parametrize(
    "wish",
    [None, {**WISH, "minReplicas": 1}, {"maxReplicas": 4, "metrics": WISH["metrics"]}],
    ids=["no autoscaling", "never zero", "an HPA"],
)
def test_it_goes_when_nothing_may_scale_to_zero(wish: Any) -> None:
    world = serving(network={"policy": "Restricted"})
    assert POLICY in world.objects
    world.resource = edited(world.resource, autoscaling=wish)
    made = world.reconcile(LATER)
    assert selector(world) == PODS
    assert {(d.kind, d.name) for d in made.deletes} >= PLACES
    world.settle(LATER)
    assert not world.objects.keys() & {*PLACES, POLICY}


def test_restricted_it_is_reached_at_its_port_and_reaches_nothing() -> None:
    world = serving(network={"policy": "Restricted"})
    assert world.objects[POLICY]["spec"] == {
        "podSelector": {"matchLabels": ACTIVATOR},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": [{"protocol": "TCP", "port": "openai"}]}],
    }
    world.resource = edited(world.resource, network={"policy": "Open"})
    world.settle(LATER)
    assert POLICY not in world.objects
    assert world.objects.keys() >= PLACES


def test_without_keda_there_is_none_since_nobody_would_wake() -> None:
    world = at_rest(deployment(replicas=1))
    world.activator_image, world.unknown = IMAGE, {SCALED_OBJECT}
    world.resource = edited(world.resource, autoscaling=WISH)
    world.settle(LATER)
    assert not PLACES & world.objects.keys()
    assert selector(world) == PODS


def test_what_selects_serving_pods_never_finds_the_activator() -> None:
    resource = deployment(
        autoscaling=WISH, pod={"tolerations": [{"key": "x"}], "imagePullSecrets": ["registry"]}
    )
    made = activator(resource, IMAGE)
    template = made["spec"]["template"]
    assert made["spec"]["selector"]["matchLabels"] == ACTIVATOR
    assert ACTIVATOR.items() <= template["metadata"]["labels"].items()
    assert "nacelle.dev/inference-deployment" not in template["metadata"]["labels"]
    spec = template["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["tolerations"] == [{"key": "x"}]
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    (container,) = spec["containers"]
    assert container["image"] == IMAGE
    assert container["args"] == ["chat", "8000"]
    assert container["ports"] == [{"name": "openai", "containerPort": 8000}]
