"""A ScaledObject on a real API server, with KEDA's own kind and without; nobody acts on it."""

from collections.abc import Iterator
from typing import Any

import foreign_kinds
import pytest
from control_plane import ControlPlane
from kstatus import kstatus
from serving_story import API, IMAGES, Story, engine, serve

from nacelle_engine.arch import Architecture
from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.objects.scaled_object import scaled_object
from nacelle_operator.reconcile import is_contained

pytestmark = pytest.mark.slow

SCALED = "keda.sh/v1alpha1", "scaledobjects"
METRICS = [{"type": "QueuedRequests"}, {"type": "KVUtilization"}, {"type": "CPU"}]
WISH = {
    "provider": "KEDA",
    "maxReplicas": 3,
    "metrics": METRICS,
    "prometheus": {
        "serverAddress": "http://prometheus:9090",
        "authentication": {"name": "token", "modes": ["bearer"]},
    },
}
CPUS = {"resources": {"requests": {"cpu": "1"}}}


@pytest.fixture
def keda_installed(control_plane: ControlPlane, until: Any) -> Iterator[None]:
    with foreign_kinds.installed(control_plane, until, foreign_kinds.KEDA, SCALED[1]):
        yield


def test_it_is_kept_as_it_was_sent_and_goes_with_the_wish(
    keda_installed: None, story: Story, start_operator: Any
) -> None:
    start_operator(NACELLE_RUNTIME_IMAGES=IMAGES)
    story.create(engine("1"), serve("1", autoscaling=WISH, pod=CPUS))
    story.run_pods(1)
    story.until(lambda: story.namespace.list(*SCALED))
    resource = InferenceDeployment.parse(story.namespace.get(API, "inferencedeployments", "chat"))
    assert resource.spec.autoscaling
    sent = scaled_object(resource, resource.spec.autoscaling, Architecture.X86_64_V3)
    assert is_contained(sent, story.namespace.get(*SCALED, "chat")), "else every look writes it"

    story.edit(autoscaling={"maxReplicas": 5})
    story.until(lambda: story.namespace.get(*SCALED, "chat")["spec"]["maxReplicaCount"] == 5)
    story.edit(autoscaling=None)
    story.until(lambda: not story.namespace.list(*SCALED))
    story.until(lambda: not story.annotations())


def test_without_keda_it_is_refused_by_name_and_all_else_goes_on(
    story: Story, start_operator: Any
) -> None:
    start_operator(NACELLE_RUNTIME_IMAGES=IMAGES)
    story.create(engine("1"), serve("1", autoscaling=WISH, pod=CPUS))
    story.run_pods(1)
    found = story.reaches("AutoscalerUnavailable", "Autoscaling")
    (told,) = (c for c in found["status"]["conditions"] if c["type"] == "Autoscaling")
    assert told["message"] == (
        "the cluster does not know keda.sh/v1alpha1 ScaledObject: install KEDA, or set "
        "spec.autoscaling.provider to HPA"
    )
    story.reaches("Serving")


def test_it_sleeps_and_wakes_as_its_scale_is_written(
    keda_installed: None, story: Story, start_operator: Any
) -> None:
    """The test writes what KEDA would, through /scale."""

    def scale(replicas: int) -> None:
        path = story.namespace.path(API, "inferencedeployments", "chat") + "/scale"
        kind = "application/merge-patch+json"
        story.namespace.plane.call("PATCH", path, {"spec": {"replicas": replicas}}, kind)

    def selector() -> dict[str, str]:
        return dict(story.namespace.get("v1", "services", "chat")["spec"]["selector"])

    def serving_pods() -> list[str]:
        return [name for name in story.pods() if name.startswith("chat-a-")]

    def nulls() -> set[str]:
        triggers = story.namespace.get(*SCALED, "chat")["spec"]["triggers"]
        return {t["metadata"].get("ignoreNullValues", "-") for t in triggers} - {"-"}

    wish = {**WISH, "minReplicas": 0, "metrics": [{"type": "QueuedRequests"}]}
    start_operator(NACELLE_RUNTIME_IMAGES=IMAGES, NACELLE_ACTIVATOR_IMAGE="operator:1")
    story.create(engine("1"), serve("1", autoscaling=wish))
    story.until(lambda: "chat-activator" in deployments(story))
    story.until(lambda: story.namespace.get("v1", "services", "chat"))
    asleep, awake = {"nacelle.dev/activator": "chat"}, {"nacelle.dev/slot": "a"}
    story.until(lambda: selector() == asleep)
    story.run_pods(2)
    story.until(lambda: awake.items() <= selector().items())
    story.reaches("Serving")
    story.until(lambda: nulls() == {"false"})

    scale(0)
    found = story.reaches("ScaledToZero")
    assert kstatus(found) == "Current"
    story.until(lambda: not serving_pods())
    story.until(lambda: selector() == asleep)
    story.until(lambda: nulls() == {"true"})

    scale(1)
    story.until(lambda: len(serving_pods()) == 1)
    assert selector() == asleep
    story.run_pods(2)
    story.until(lambda: awake.items() <= selector().items())
    story.reaches("Serving")

    def services() -> set[str]:
        return {m["metadata"]["name"] for m in story.namespace.list("v1", "services")}

    story.edit(autoscaling=None)
    story.until(lambda: "chat-activator" not in deployments(story))
    story.until(lambda: services() == {"chat"})


def deployments(story: Story) -> set[str]:
    return {m["metadata"]["name"] for m in story.namespace.list("apps/v1", "deployments")}
