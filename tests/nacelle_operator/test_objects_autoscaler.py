"""The HorizontalPodAutoscaler as the API server keeps it, so that nothing is written twice."""

from typing import Any

import pytest
from serving_cases import deployment

from nacelle_engine.arch import Architecture
from nacelle_operator.objects.horizontal_pod_autoscaler import (
    KV_UTILIZATION,
    REQUESTS_WAITING,
    horizontal_pod_autoscaler,
)
from nacelle_runtime.figures import figures
from nacelle_runtime.wire import Histogram, Ready, Stats


def made(architecture: Architecture = Architecture.X86_64_V3, **wish: Any) -> dict[str, Any]:
    resource = deployment(autoscaling={"maxReplicas": 4, **wish})
    assert resource.spec.autoscaling
    spec = horizontal_pod_autoscaler(resource, resource.spec.autoscaling, architecture)["spec"]
    return dict(spec)


def cpu(percent: int) -> dict[str, Any]:
    target = {"type": "Utilization", "averageUtilization": percent}
    used = {"name": "cpu", "container": "runtime", "target": target}
    return {"type": "ContainerResource", "containerResource": used}


def of_pods(name: str, value: str) -> dict[str, Any]:
    target = {"type": "AverageValue", "averageValue": value}
    return {"type": "Pods", "pods": {"metric": {"name": name}, "target": target}}


WAITING = of_pods("nacelle_requests_waiting", "4")
HELD = of_pods("nacelle_kv_utilization", "800m")


def test_it_targets_the_resource_and_not_its_deployment() -> None:
    assert made(minReplicas=2)["scaleTargetRef"] == {
        "apiVersion": "nacelle.dev/v1alpha1",
        "kind": "InferenceDeployment",
        "name": "chat",
    }
    assert (made(minReplicas=2)["minReplicas"], made()["minReplicas"]) == (2, 1)
    assert made()["maxReplicas"] == 4


@pytest.mark.parametrize(
    ("metric", "wanted"),
    [
        ({"type": "CPU"}, cpu(80)),
        ({"type": "CPU", "averagePercent": 55}, cpu(55)),
        ({"type": "KVUtilization"}, HELD),
        ({"type": "KVUtilization", "averagePercent": 1}, of_pods(KV_UTILIZATION, "10m")),
        ({"type": "KVUtilization", "averagePercent": 100}, of_pods(KV_UTILIZATION, "1")),
        ({"type": "QueuedRequests"}, WAITING),
        ({"type": "QueuedRequests", "averageValue": 1}, of_pods(REQUESTS_WAITING, "1")),
        ({"type": "QueuedRequests", "averageValue": 2000}, of_pods(REQUESTS_WAITING, "2k")),
        ({"type": "QueuedRequests", "averageValue": 2500}, of_pods(REQUESTS_WAITING, "2500")),
    ],
)
def test_a_metric(metric: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert made(metrics=[metric])["metrics"] == [wanted]


def test_metrics_that_are_left_out_suit_the_engine() -> None:
    assert made(Architecture.X86_64_V4)["metrics"] == [cpu(80)]
    assert made(Architecture.SM_90)["metrics"] == [WAITING, HELD]
    assert made(Architecture.SM_90, metrics=[{"type": "QueuedRequests"}])["metrics"] == [WAITING]


def test_the_pace() -> None:
    up = {"stabilizationWindowSeconds": 5, "maxPods": 2, "periodSeconds": 7}
    assert made(behavior={"scaleUp": up})["behavior"] == {
        "scaleUp": {
            "stabilizationWindowSeconds": 5,
            "selectPolicy": "Max",
            "policies": [{"type": "Pods", "value": 2, "periodSeconds": 7}],
        },
        "scaleDown": {
            "stabilizationWindowSeconds": 120,
            "selectPolicy": "Max",
            "policies": [{"type": "Pods", "value": 1, "periodSeconds": 30}],
        },
    }


def test_metrics_bear_the_names_that_the_runtime_tells() -> None:
    times = Histogram([], [0], 0.0)
    stats = Stats(*[1] * 13, {}, times, times, times, 0.0, 0.0)
    told = figures(stats, Ready("k", 1, 1, 1, 1, 1, 0.0, ""), "m")
    assert {KV_UTILIZATION, REQUESTS_WAITING} <= {figure.name for figure in told}
