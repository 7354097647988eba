"""An autoscaled deployment on a real API server, its replicas written by the real controller."""

import urllib.error
from typing import Any

import pytest
from serving_story import API, IMAGES, Story, engine, serve

from nacelle_engine.arch import Architecture
from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.objects.horizontal_pod_autoscaler import horizontal_pod_autoscaler
from nacelle_operator.reconcile import is_contained

pytestmark = pytest.mark.slow

HPA = "autoscaling/v2", "horizontalpodautoscalers"
CPUS = {"resources": {"requests": {"cpu": "1"}}}


def writers(story: Story, field: str) -> set[str]:
    """Who has written a field of the deployment's spec."""
    found = story.namespace.get(API, "inferencedeployments", "chat")
    entries = found["metadata"]["managedFields"]
    return {e["manager"] for e in entries if f"f:{field}" in e["fieldsV1"].get("f:spec", {})}


def test_the_autoscaler_alone_writes_replicas(story: Story, start_operator: Any) -> None:
    start_operator(NACELLE_RUNTIME_IMAGES=IMAGES)
    wish = {"minReplicas": 2, "maxReplicas": 3}
    story.create(engine("1"), serve("1", autoscaling=wish, pod=CPUS))
    # The controller learns of new kinds every half minute.
    story.until(lambda: len(story.pods()) == 2, seconds=90)
    pods = story.run_pods(2)
    assert writers(story, "replicas") == {"kube-controller-manager"}
    found = story.reaches("MetricsUnavailable", "Autoscaling")
    (told,) = (c for c in found["status"]["conditions"] if c["type"] == "Autoscaling")
    assert told["status"] == "False"
    assert "FailedGetContainerResourceMetric: " in told["message"]
    story.reaches("Serving")
    (made,) = story.namespace.list(*HPA)
    assert made["status"]["currentReplicas"] == 2, "the selector finds the pods"
    version = made["metadata"]["resourceVersion"]

    story.edit(autoscaling={"minReplicas": 3})
    assert pods < story.run_pods(3)
    story.until(lambda: story.reaches("Serving")["status"]["readyReplicas"] == 3)
    assert story.namespace.get(*HPA, "chat")["metadata"]["resourceVersion"] != version

    story.edit(autoscaling=None)
    story.until(lambda: not story.namespace.list(*HPA))
    story.until(lambda: "Autoscaling" not in types(story))
    assert story.namespace.get(API, "inferencedeployments", "chat")["spec"]["replicas"] == 3
    assert writers(story, "replicas") == {"kube-controller-manager"}


def types(story: Story) -> set[str]:
    found = story.namespace.get(API, "inferencedeployments", "chat")
    return {c["type"] for c in found["status"]["conditions"]}


def test_a_strangers_autoscaler_is_not_overwritten(story: Story, start_operator: Any) -> None:
    stranger = {
        "apiVersion": HPA[0],
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "chat"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "other"},
            "maxReplicas": 7,
        },
    }
    before = story.namespace.create(HPA[1], stranger)
    start_operator(NACELLE_RUNTIME_IMAGES=IMAGES)
    story.create(engine("1"), serve("1", autoscaling={"maxReplicas": 2}, pod=CPUS))
    story.run_pods(1)
    story.reaches("AutoscalerNameTaken", "Autoscaling")
    story.reaches("Serving")
    after = story.namespace.get(*HPA, "chat")
    for part in ("uid", "labels", "ownerReferences"):
        assert after["metadata"].get(part) == before["metadata"].get(part)
    assert after["spec"] == before["spec"]

    story.namespace.delete(*HPA, "chat")
    story.edit(autoscaling={"maxReplicas": 3})

    # The stranger's end may be noticed before the edit.
    def follows() -> Any:
        found = story.namespace.get(*HPA, "chat")
        return found and found["spec"]["maxReplicas"] == 3 and found

    made = story.until(follows)
    assert made["metadata"]["ownerReferences"][0]["kind"] == "InferenceDeployment"


def test_what_is_kept_is_what_was_sent(story: Story, start_operator: Any) -> None:
    """Else every look would write it again."""
    start_operator(NACELLE_RUNTIME_IMAGES=IMAGES)
    metrics = [
        {"type": "QueuedRequests", "averageValue": 2000},
        {"type": "KVUtilization", "averagePercent": 100},
        {"type": "CPU"},
    ]
    wish = {"maxReplicas": 2, "metrics": metrics}
    story.create(engine("1"), serve("1", autoscaling=wish, pod=CPUS))
    story.run_pods(1)
    story.until(lambda: story.namespace.list(*HPA))
    raw = story.namespace.get(API, "inferencedeployments", "chat")
    resource = InferenceDeployment.parse(raw)
    sent = horizontal_pod_autoscaler(resource, resource.spec.autoscaling, Architecture.X86_64_V3)
    assert is_contained(sent, story.namespace.get(*HPA, "chat"))


def test_replicas_are_handed_over_without_a_dip(namespace: Any) -> None:
    """As docs/operator.md says: a manifest that drops its replicas resets them, unless another
    manager holds them too.
    """

    def apply(manager: str, **spec: Any) -> int:
        manifest = serve("1", **spec)
        path = namespace.path(API, "inferencedeployments", "chat") + f"?fieldManager={manager}"
        kind = "application/apply-patch+yaml"
        return int(namespace.plane.call("PATCH", path, manifest, kind)["spec"]["replicas"])

    assert apply("me", replicas=5) == 5
    assert apply("me") == 1
    assert apply("me", replicas=5) == 5
    assert apply("handover", replicas=5) == 5
    assert apply("me", autoscaling={"maxReplicas": 9}) == 5
    with pytest.raises(urllib.error.HTTPError, match="409"):
        apply("me", replicas=2)
