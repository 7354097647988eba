"""The HorizontalPodAutoscaler: it writes the resource's replicas through /scale."""

from typing import Any, Final

from nacelle_engine.arch import Architecture
from nacelle_operator.api.autoscaling import Autoscaling, Metric, ScaleDown, ScaleUp
from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.kinds import HORIZONTAL_POD_AUTOSCALER as KIND
from nacelle_operator.objects.metadata import serving_metadata
from nacelle_operator.objects.names import RUNTIME

DEFAULT_PERCENT: Final = 80
DEFAULT_QUEUED: Final = 4
# As the runtime's /metrics names them.
KV_UTILIZATION: Final = "nacelle_kv_utilization"
REQUESTS_WAITING: Final = "nacelle_requests_waiting"


def horizontal_pod_autoscaler(
    resource: InferenceDeployment, autoscaling: Autoscaling, architecture: Architecture
) -> dict[str, Any]:
    """The autoscaler of an engine's pods, with nothing left to the API server's defaults."""
    name = resource.metadata.name
    behavior = autoscaling.behavior
    return {
        "apiVersion": KIND.api_version,
        "kind": KIND.name,
        "metadata": serving_metadata(resource, name),
        "spec": {
            "scaleTargetRef": {
                "apiVersion": resource.api_version,
                "kind": resource.kind,
                "name": name,
            },
            "minReplicas": autoscaling.min_replicas,
            "maxReplicas": autoscaling.max_replicas,
            "metrics": [_metric(metric) for metric in metrics(autoscaling, architecture)],
            "behavior": {
                "scaleUp": pace(behavior.scale_up),
                "scaleDown": pace(behavior.scale_down),
            },
        },
    }


def metrics(autoscaling: Autoscaling, architecture: Architecture) -> tuple[Metric, ...]:
    """The metrics that are asked for, or those that suit the engine.

    A queue alone would not do: it is empty as long as the pods just suffice.
    """
    if autoscaling.metrics:
        return autoscaling.metrics
    if architecture.is_cpu:
        return (Metric(type="CPU"),)
    return (Metric(type="QueuedRequests"), Metric(type="KVUtilization"))


def _metric(metric: Metric) -> dict[str, Any]:
    percent = metric.average_percent or DEFAULT_PERCENT
    if metric.type == "CPU":
        target = {"type": "Utilization", "averageUtilization": percent}
        # Of the runtime alone: a Triton server beside it would count in a share of the pod's.
        used = {"name": "cpu", "container": RUNTIME, "target": target}
        return {"type": "ContainerResource", "containerResource": used}
    if metric.type == "KVUtilization":
        # In the API server's own spelling, so that what it gives back is what was sent.
        share = "1" if percent == 100 else f"{10 * percent}m"
        return _of_pods(KV_UTILIZATION, share)
    return _of_pods(REQUESTS_WAITING, _number(metric.average_value or DEFAULT_QUEUED))


def _number(value: int) -> str:
    """A whole number as the API server spells a quantity: 4, 12k."""
    return f"{value // 1000}k" if value % 1000 == 0 else str(value)


def _of_pods(name: str, average: str) -> dict[str, Any]:
    target = {"type": "AverageValue", "averageValue": average}
    return {"type": "Pods", "pods": {"metric": {"name": name}, "target": target}}


def pace(pace: ScaleUp | ScaleDown) -> dict[str, Any]:
    """How fast an autoscaler follows, as its behavior says it."""
    policy = {"type": "Pods", "value": pace.max_pods, "periodSeconds": pace.period_seconds}
    return {
        "stabilizationWindowSeconds": pace.stabilization_window_seconds,
        "selectPolicy": "Max",
        "policies": [policy],
    }
