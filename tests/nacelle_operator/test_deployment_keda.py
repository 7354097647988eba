"""A ScaledObject's life: when it is made, what is told of it, and that two never scale at once."""

from typing import Any

import pytest
from serving_cases import LATER, NOW, OLD, deployment, engine, pod, surroundings
from serving_cluster import ServingCluster, at_rest, edited

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.conditions import Verdict, find
from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.keda import decide_scaled_object
from nacelle_operator.deployment.plan import plan
from nacelle_operator.deployment.rollout import decide_rollout
from nacelle_operator.kinds import SCALED_OBJECT
from nacelle_operator.objects.horizontal_pod_autoscaler import horizontal_pod_autoscaler
from nacelle_operator.objects.scaled_object import scaled_object
from nacelle_operator.plan import Event
from nacelle_operator.seen import Seen

ENGINE = f"eng-{OLD[:16]}"
WISH = {
    "provider": "KEDA",
    "minReplicas": 2,
    "maxReplicas": 4,
    "metrics": [{"type": "QueuedRequests"}],
    "prometheus": {"serverAddress": "http://prometheus:9090"},
}
HPA = {"maxReplicas": 4, "metrics": [{"type": "QueuedRequests"}]}
NAME = "ScaledObject chat"
PLACE = ("ScaledObject", "chat")
RIVAL = ("HorizontalPodAutoscaler", "chat")


def scaled(wish: Any = WISH, **spec: Any) -> InferenceDeployment:
    return deployment(**{"autoscaling": wish, **spec})


def present(*conditions: tuple[str, str, str, str], **metadata: Any) -> dict[str, Any]:
    """The ScaledObject as it was made for `scaled()`, saying this of itself."""
    resource = scaled()
    assert resource.spec.autoscaling
    made = scaled_object(resource, resource.spec.autoscaling, engine().spec.architecture)
    made["metadata"] |= {"uid": "s-uid", **metadata}
    fields = ("type", "status", "reason", "message")
    return {
        **made,
        "status": {"conditions": [dict(zip(fields, c, strict=True)) for c in conditions]},
    }


READY = ("Ready", "True", "ScaledObjectReady", "m")
HINT = (
    "(see that spec.autoscaling.prometheus.serverAddress answers and knows the pods' series, with "
    "the labels namespace and pod)"
)


def seen(*conditions: tuple[str, str, str, str], **fields: Any) -> dict[str, Any]:
    return {"unwatched": {SCALED_OBJECT: Seen(True, present(*conditions))}, **fields}


def hpa() -> dict[str, Any]:
    resource = scaled(HPA)
    assert resource.spec.autoscaling
    made = horizontal_pod_autoscaler(
        resource, resource.spec.autoscaling, engine().spec.architecture
    )
    made["metadata"]["uid"] = "h-uid"
    return made


ANSWERING = (pod(conditions=[{"type": "Ready", "status": "True"}]),)
ASKS_CPU = {**WISH, "metrics": [{"type": "CPU"}]}
UNREAD = ("Ready", "False", "TriggerError", "Triggers are not working")
UNKNOWN = (
    "False",
    reasons.AUTOSCALER_UNAVAILABLE,
    "the cluster does not know keda.sh/v1alpha1 ScaledObject: install KEDA, or set "
    "spec.autoscaling.provider to HPA",
)
WAITS = (
    "Unknown",
    reasons.AUTOSCALER_PENDING,
    f"{NAME} waits for a pod that answers: there is nothing to measure yet",
)
CASES: dict[str, tuple[InferenceDeployment, dict[str, Any], Any]] = {
    "not asked for": (deployment(), {}, None),
    "the other provider's": (scaled(HPA), {}, None),
    "no such kind": (scaled(), {"unwatched": {SCALED_OBJECT: Seen(False)}}, UNKNOWN),
    "not made yet": (
        scaled(),
        {},
        ("Unknown", reasons.AUTOSCALER_PENDING, f"{NAME} is being made"),
    ),
    "nobody to answer at zero": (
        scaled({**WISH, "minReplicas": 0}),
        {},
        (
            "False",
            reasons.ACTIVATOR_IMAGE_MISSING,
            "spec.autoscaling.minReplicas 0 needs an image of what answers while no pod is there, "
            "and the operator knows none: set NACELLE_ACTIVATOR_IMAGE to its own image, or "
            "minReplicas to 1",
        ),
    ),
    "asleep": (
        scaled({**WISH, "minReplicas": 0}, replicas=0),
        seen(READY, ("Active", "False", "ScalerNotActive", "m"), activator_image="operator:1"),
        ("True", reasons.AUTOSCALER_ACTIVE, f"{NAME} keeps 0 to 4 replicas"),
    ),
    "no engine yet": (
        scaled(),
        {"engines": {}},
        (
            "Unknown",
            reasons.AUTOSCALER_PENDING,
            f"{NAME} is made as soon as there is an engine to serve",
        ),
    ),
    "somebody else's": (
        scaled(),
        {"unwatched": {SCALED_OBJECT: Seen(True, present(ownerReferences=[]))}},
        (
            "False",
            reasons.AUTOSCALER_NAME_TAKEN,
            f"{NAME} is not this resource's: delete it, or take spec.autoscaling away",
        ),
    ),
    "the HPA is still there": (
        scaled(),
        {"autoscaler": hpa()},
        (
            "Unknown",
            reasons.AUTOSCALER_PENDING,
            f"{NAME} is made as soon as HorizontalPodAutoscaler chat is gone",
        ),
    ),
    "CPU of a GPU engine": (
        scaled(ASKS_CPU),
        {"engines": {ENGINE: engine(architecture="sm_90")}},
        (
            "False",
            reasons.METRIC_UNFIT,
            f"spec.autoscaling.metrics: CPU tells nothing of Engine {ENGINE} on sm_90: "
            "use QueuedRequests and KVUtilization",
        ),
    ),
    "no request": (
        scaled(ASKS_CPU),
        {},
        (
            "False",
            reasons.CPU_REQUEST_MISSING,
            "spec.autoscaling.metrics: CPU is a share of spec.pod.resources.requests.cpu, which "
            "is not set: set it to the CPUs that a busy pod uses",
        ),
    ),
    "nobody has looked": (
        scaled(),
        seen(),
        ("Unknown", reasons.AUTOSCALER_PENDING, f"{NAME} waits for the cluster's controller"),
    ),
    "at work": (
        scaled(),
        seen(READY, ("Active", "False", "ScalerNotActive", "m"), pods=ANSWERING),
        ("True", reasons.AUTOSCALER_ACTIVE, f"{NAME} keeps 2 to 4 replicas"),
    ),
    "told to rest": (
        scaled(),
        seen(READY, ("Paused", "True", "ScaledObjectPaused", "m"), pods=ANSWERING),
        (
            "False",
            reasons.AUTOSCALER_PAUSED,
            f"{NAME} rests: take its annotations autoscaling.keda.sh/paused away and it goes on",
        ),
    ),
    "nothing to measure": (scaled(), seen(UNREAD), WAITS),
    "no Prometheus": (
        scaled(),
        seen(UNREAD, pods=ANSWERING),
        (
            "False",
            reasons.METRICS_UNAVAILABLE,
            f"{NAME}: TriggerError: Triggers are not working {HINT}",
        ),
    ),
    "one trigger of several fails": (
        scaled(),
        seen(("Ready", "Unknown", "PartialTriggerError", "Some fail"), pods=ANSWERING),
        (
            "False",
            reasons.METRICS_UNAVAILABLE,
            f"{NAME}: PartialTriggerError: Some fail {HINT}",
        ),
    ),
    "KEDA's HPA gets none": (
        scaled(),
        seen(READY, ("HPAActive", "False", "FailedGetExternalMetric", "m"), pods=ANSWERING),
        ("False", reasons.METRICS_UNAVAILABLE, f"{NAME}: FailedGetExternalMetric: m {HINT}"),
    ),
    "KEDA refuses it": (
        scaled(),
        seen(("Ready", "False", "ScaledObjectCheckFailed", "no scale")),
        ("False", reasons.AUTOSCALER_FAILING, f"{NAME}: ScaledObjectCheckFailed: no scale"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_told(case: str) -> None:
    resource, fields, wanted = CASES[case]
    observed = surroundings(OLD, **fields)
    found = decide_scaled_object(resource, observed, decide_rollout(resource, observed)).verdict
    assert found == (wanted and Verdict("Autoscaling", *wanted))


def kinds(objects: Any) -> list[str]:
    return [o["kind"] for o in objects if (o["kind"], "chat") in (PLACE, RIVAL)]


def test_the_known_one_is_applied_as_that_very_object() -> None:
    made = plan(scaled({**WISH, "maxReplicas": 9}), surroundings(OLD, **seen(READY)), NOW)
    assert made.creates == ()
    assert made.objects[-1]["metadata"]["uid"] == "s-uid"
    assert made.objects[-1]["spec"]["maxReplicaCount"] == 9


def test_without_keda_everything_else_goes_on_and_it_proceeds_when_it_comes() -> None:
    world = at_rest(deployment(replicas=2))
    world.unknown.add(SCALED_OBJECT)
    world.resource = edited(world.resource, autoscaling=WISH, replicas=3)
    made = world.reconcile(LATER)
    assert Event("Warning", UNKNOWN[1], UNKNOWN[2]) in made.events
    rest = world.settle(LATER)
    statuses = {c.type: c.status for c in world.resource.status.conditions}
    assert statuses == {"Ready": "True", "Available": "True", "Autoscaling": "False"}
    assert world.resource.status.ready_replicas == 3
    assert (rest.events, rest.requeue_seconds) == ((), 60.0), "no watch tells that KEDA has come"
    world.unknown.clear()
    world.settle(LATER)
    assert PLACE in world.objects


def autoscalers(world: ServingCluster) -> set[tuple[str, str]]:
    return world.objects.keys() & {PLACE, RIVAL}


def test_the_provider_is_changed_to_and_fro_and_two_never_scale_at_once() -> None:
    world = at_rest(scaled(HPA, replicas=3))
    assert autoscalers(world) == {RIVAL}
    for wish, own in ((WISH, PLACE), (HPA, RIVAL)):
        world.resource = edited(world.resource, autoscaling=wish)
        counts = []
        for _ in range(4):
            world.reconcile(LATER)
            counts.append(len(autoscalers(world)))
        assert max(counts) == 1, "the next comes when the last has gone"
        world.settle(LATER)
        assert autoscalers(world) == {own}
    assert world.objects["Deployment", "chat-a"]["spec"]["replicas"] == 3
    assert world.restarts == 0


def test_it_goes_with_the_wish_and_is_remembered_until_then() -> None:
    world = at_rest(scaled(replicas=3))
    service = world.objects["Service", "chat"]["metadata"]
    assert service["annotations"] == {"nacelle.dev/scaled-object": "chat"}
    world.resource = edited(world.resource, autoscaling=None)
    assert world.reconcile(LATER).requeue_seconds == 5.0, "no watch tells that it has gone"
    rest = world.settle(LATER)
    assert PLACE not in world.objects
    assert (rest.deletes, rest.requeue_seconds) == ((), None)
    assert "annotations" not in world.objects["Service", "chat"]["metadata"]
    assert find(world.resource.status.conditions, "Autoscaling") is None
    assert world.objects["Deployment", "chat-a"]["spec"]["replicas"] == 3


def test_a_strangers_is_left_alone_with_or_without_the_wish() -> None:
    stranger = {"unwatched": {SCALED_OBJECT: Seen(True, present(ownerReferences=[]))}}
    for resource in (scaled(), deployment()):
        made = plan(resource, surroundings(OLD, **stranger), NOW)
        assert (kinds([*made.objects, *made.creates]), made.deletes) == ([], ())
