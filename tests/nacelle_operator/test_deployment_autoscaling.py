"""An autoscaler's life: when it is made, what is told of it, and that nobody else's is touched."""

from dataclasses import replace
from typing import Any

import pytest
from serving_cases import LATER, NOW, OLD, deployment, engine, pod, surroundings
from serving_cluster import at_rest, edited

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.conditions import Verdict, find
from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.autoscaling import decide_autoscaling
from nacelle_operator.deployment.observe import Observed
from nacelle_operator.deployment.plan import plan
from nacelle_operator.deployment.rollout import decide_rollout
from nacelle_operator.objects.horizontal_pod_autoscaler import horizontal_pod_autoscaler
from nacelle_operator.plan import Event

ENGINE = f"eng-{OLD[:16]}"
WISH = {"minReplicas": 2, "maxReplicas": 4}
CPUS = {"resources": {"requests": {"cpu": "2"}}}
ACTIVE = ("True", reasons.AUTOSCALER_ACTIVE)
NAME = "HorizontalPodAutoscaler chat"


def scaled(wish: Any = WISH, **spec: Any) -> InferenceDeployment:
    return deployment(**{"autoscaling": wish, "pod": CPUS, **spec})


def autoscaler(*conditions: tuple[str, str, str, str], **metadata: Any) -> dict[str, Any]:
    """The autoscaler as it was made for `scaled()`, saying this of itself."""
    resource = scaled()
    assert resource.spec.autoscaling
    made = horizontal_pod_autoscaler(
        resource, resource.spec.autoscaling, engine().spec.architecture
    )
    made["metadata"] |= {"uid": "h-uid", **metadata}
    fields = ("type", "status", "reason", "message")
    return {
        **made,
        "status": {"conditions": [dict(zip(fields, c, strict=True)) for c in conditions]},
    }


def seen(
    able: str = "True", active: str = "True", limited: str = "False", **said: str
) -> dict[str, Any]:
    """An autoscaler at work; each condition's reason and message as "Reason: message"."""
    statuses = {"AbleToScale": able, "ScalingActive": active, "ScalingLimited": limited}
    texts = {type_: said.get(type_, "R: m").split(": ", 1) for type_ in statuses}
    return autoscaler(*((type_, status, *texts[type_]) for type_, status in statuses.items()))


def verdict(resource: InferenceDeployment, observed: Observed) -> Verdict | None:
    return decide_autoscaling(resource, observed, decide_rollout(resource, observed)).verdict


def answering() -> dict[str, Any]:
    return pod(conditions=[{"type": "Ready", "status": "True"}])


GPU = {"engines": {ENGINE: engine(architecture="sm_90")}}
UNFIT = (
    "False",
    reasons.METRIC_UNFIT,
    f"spec.autoscaling.metrics: CPU tells nothing of Engine {ENGINE} on sm_90: "
    "use QueuedRequests and KVUtilization",
)
NO_REQUEST = (
    "False",
    reasons.CPU_REQUEST_MISSING,
    "spec.autoscaling.metrics: CPU is a share of spec.pod.resources.requests.cpu, which is not "
    "set: set it to the CPUs that a busy pod uses",
)
CREATED = ("Unknown", reasons.AUTOSCALER_PENDING, f"{NAME} is being made")
WORKS = ("True", reasons.AUTOSCALER_ACTIVE, f"{NAME} keeps 2 to 4 replicas")
TAKEN = (
    "False",
    reasons.AUTOSCALER_NAME_TAKEN,
    f"{NAME} is not this resource's: delete it, or take spec.autoscaling away",
)
NO_CPU = "FailedGetContainerResourceMetric: no metrics for cpu"
CASES: dict[str, tuple[InferenceDeployment, dict[str, Any], Any]] = {
    "not asked for": (deployment(), {}, None),
    "not made yet": (scaled(), {}, CREATED),
    "no engine yet": (
        scaled(),
        {"engines": {}},
        (
            "Unknown",
            reasons.AUTOSCALER_PENDING,
            f"{NAME} is made as soon as there is an engine to serve",
        ),
    ),
    "CPU of a GPU engine": (scaled({**WISH, "metrics": [{"type": "CPU"}]}), GPU, UNFIT),
    "a GPU engine": (scaled(pod={}), GPU, CREATED),
    "no request": (scaled(pod={}), {}, NO_REQUEST),
    "memory alone": (scaled(pod={"resources": {"requests": {"memory": "1Gi"}}}), {}, NO_REQUEST),
    "a limit is a request": (scaled(pod={"resources": {"limits": {"cpu": 2}}}), {}, CREATED),
    "no CPU asked for": (
        scaled({**WISH, "metrics": [{"type": "QueuedRequests"}]}, pod={}),
        {},
        CREATED,
    ),
    "somebody else's": (scaled(), {"autoscaler": autoscaler(ownerReferences=[])}, TAKEN),
    "one of a namesake that is gone": (
        scaled(),
        {"autoscaler": autoscaler(ownerReferences=[{"uid": "old", "controller": True}])},
        TAKEN,
    ),
    "nobody has looked": (
        scaled(),
        {"autoscaler": autoscaler()},
        ("Unknown", reasons.AUTOSCALER_PENDING, f"{NAME} waits for the cluster's controller"),
    ),
    "at work": (scaled(), {"autoscaler": seen()}, WORKS),
    "at its least": (
        scaled(),
        {"autoscaler": seen(limited="True", ScalingLimited="TooFewReplicas: m")},
        WORKS,
    ),
    "at its most": (
        scaled(),
        {"autoscaler": seen(limited="True", ScalingLimited="TooManyReplicas: m")},
        (
            "True",
            reasons.SCALING_LIMITED,
            f"{NAME} wants more than spec.autoscaling.maxReplicas, 4: raise it",
        ),
    ),
    "turned off": (
        scaled(replicas=0),
        {"autoscaler": seen(active="False", ScalingActive="ScalingDisabled: m")},
        (
            "False",
            reasons.AUTOSCALER_PAUSED,
            f"{NAME} rests while spec.replicas is 0: scale to 1 or more and it goes on",
        ),
    ),
    "no scale": (
        scaled(),
        {"autoscaler": seen(able="False", AbleToScale="FailedGetScale: forbidden")},
        ("False", reasons.AUTOSCALER_FAILING, f"{NAME}: FailedGetScale: forbidden"),
    ),
    "nothing to measure": (
        scaled(),
        {"autoscaler": seen(active="False", ScalingActive=NO_CPU)},
        (
            "Unknown",
            reasons.AUTOSCALER_PENDING,
            f"{NAME} waits for a pod that answers: there is nothing to measure yet",
        ),
    ),
    "no metrics-server": (
        scaled(),
        {"autoscaler": seen(active="False", ScalingActive=NO_CPU), "pods": (answering(),)},
        (
            "False",
            reasons.METRICS_UNAVAILABLE,
            f"{NAME}: {NO_CPU} (the cluster's metrics-server gives CPU)",
        ),
    ),
    "no adapter": (
        scaled(),
        {
            "autoscaler": seen(active="False", ScalingActive="FailedGetPodsMetric: none"),
            "pods": (answering(),),
        },
        (
            "False",
            reasons.METRICS_UNAVAILABLE,
            f"{NAME}: FailedGetPodsMetric: none (an adapter for custom.metrics.k8s.io gives "
            "metrics of pods)",
        ),
    ),
    "two over the same pods": (
        scaled(),
        {"autoscaler": seen(active="False", ScalingActive="AmbiguousSelector: two of them")},
        ("False", reasons.AUTOSCALER_FAILING, f"{NAME}: AmbiguousSelector: two of them"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_told(case: str) -> None:
    resource, fields, wanted = CASES[case]
    found = verdict(resource, surroundings(OLD, **fields))
    assert found == (wanted and Verdict("Autoscaling", *wanted))


def made(resource: InferenceDeployment, **fields: Any) -> Any:
    return plan(resource, surroundings(OLD, **fields), NOW)


def names(objects: Any) -> list[str]:
    return [o["kind"] for o in objects if o["kind"] == "HorizontalPodAutoscaler"]


def test_it_is_created_and_never_applied_over_what_is_not_known() -> None:
    planned = made(scaled())
    assert names(planned.objects) == []
    (created,) = planned.creates
    assert created["metadata"]["name"] == "chat"
    assert created["metadata"]["ownerReferences"][0]["uid"] == "d-uid"


def test_the_known_one_is_applied_as_that_very_object() -> None:
    planned = made(scaled({"maxReplicas": 9}), autoscaler=seen())
    assert planned.creates == ()
    applied = planned.objects[-1]
    assert applied["metadata"]["uid"] == "h-uid"
    assert applied["spec"]["maxReplicas"] == 9


def test_a_strangers_is_left_alone_with_or_without_the_wish() -> None:
    stranger = autoscaler(ownerReferences=[])
    planned = made(scaled(), autoscaler=stranger)
    assert (names(planned.objects), planned.creates, planned.deletes) == ([], (), ())
    assert planned.requeue_seconds is not None, "it bears no label to be watched by"
    assert Event("Warning", TAKEN[1], TAKEN[2]) in planned.events
    assert made(deployment(), autoscaler=stranger).deletes == ()


def test_one_that_is_refused_is_left_as_it_was() -> None:
    planned = made(scaled(pod={}), autoscaler=seen())
    assert (names(planned.objects), planned.creates, planned.deletes) == ([], (), ())


def test_it_goes_with_the_wish_and_the_replicas_stay() -> None:
    world = at_rest(scaled(replicas=3))
    assert ("HorizontalPodAutoscaler", "chat") in world.objects
    world.resource = edited(world.resource, autoscaling=None)
    world.settle(LATER)
    assert ("HorizontalPodAutoscaler", "chat") not in world.objects
    assert world.objects["Deployment", "chat-a"]["spec"]["replicas"] == 3
    assert find(world.resource.status.conditions, "Autoscaling") is None


def test_what_the_autoscaler_writes_is_what_runs_and_restarts_no_pod() -> None:
    world = at_rest(scaled())
    for written in (2, 4, 1):
        world.resource = edited(world.resource, replicas=written)
        world.settle(LATER)
        assert world.objects["Deployment", "chat-a"]["spec"]["replicas"] == written
        assert world.resource.status.replicas == written
        assert world.resource.spec.replicas == written
    assert world.restarts == 0


def test_the_selector_finds_the_pods_that_are_counted_and_no_others() -> None:
    """Of both slots' pods, an autoscaler may count the live one's only."""
    world = at_rest(scaled(replicas=2))
    wanted = dict(pair.split("=") for pair in world.resource.status.selector.split(","))
    old = {**world.pods[0]["metadata"]["labels"], "nacelle.dev/slot": "b"}
    labels = [*(p["metadata"]["labels"] for p in world.pods), old]
    counted = [found for found in labels if wanted.items() <= found.items()]
    assert len(counted) == world.resource.status.replicas == 2


def test_a_failing_autoscaler_is_told_once_and_serving_goes_on() -> None:
    world = at_rest(scaled(replicas=2))
    failing = seen(active="False", ScalingActive=NO_CPU)["status"]
    world.objects["HorizontalPodAutoscaler", "chat"]["status"] = failing
    first, second = world.reconcile(LATER), world.reconcile(LATER)
    assert [event.reason for event in first.events] == [reasons.METRICS_UNAVAILABLE]
    assert second.events == ()
    statuses = {c.type: c.status for c in world.resource.status.conditions}
    assert statuses == {"Ready": "True", "Available": "True", "Autoscaling": "False"}
    assert second.requeue_seconds is not None


def test_at_rest_nothing_is_asked_for_again() -> None:
    world = at_rest(scaled(replicas=2))
    world.objects["HorizontalPodAutoscaler", "chat"]["status"] = seen()["status"]
    rest = world.settle(LATER)
    assert rest.requeue_seconds is None
    assert rest.creates == ()
    found = find(world.resource.status.conditions, "Autoscaling")
    assert found and (found.status, found.reason) == ACTIVE


def test_an_autoscaler_whose_engine_is_gone_is_kept_as_it_is() -> None:
    world = at_rest(scaled(replicas=2))
    observed = replace(world.observe(), engines={})
    decision = decide_autoscaling(
        world.resource, observed, decide_rollout(world.resource, observed)
    )
    assert (decision.create, decision.apply, decision.delete) == (None, None, None)
