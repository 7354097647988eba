"""A ScaledObject on a real API server, with KEDA's own kind and without; nobody acts on it."""

from collections.abc import Iterator
from typing import Any

import foreign_kinds
import pytest
from control_plane import ControlPlane
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
    story.until(lambda: not annotations(story))


def annotations(story: Story) -> dict[str, str]:
    found = story.namespace.get("v1", "services", "chat")["metadata"]
    return dict(found.get("annotations") or {})


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
