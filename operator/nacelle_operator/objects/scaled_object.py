"""The ScaledObject of KEDA: it writes the resource's replicas through /scale."""

from collections.abc import Mapping
from typing import Any, Final

from nacelle_engine.arch import Architecture
from nacelle_operator.api.autoscaling import Autoscaling, Metric
from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.api.prometheus import Prometheus
from nacelle_operator.kinds import SCALED_OBJECT as KIND
from nacelle_operator.objects.horizontal_pod_autoscaler import (
    DEFAULT_PERCENT,
    DEFAULT_QUEUED,
    KV_UTILIZATION,
    REQUESTS_WAITING,
    metrics,
    pace,
)
from nacelle_operator.objects.metadata import serving_metadata
from nacelle_operator.objects.names import RUNTIME

_POLL_SECONDS: Final = 15


def scaled_object(
    resource: InferenceDeployment, autoscaling: Autoscaling, architecture: Architecture
) -> dict[str, Any]:
    """The ScaledObject of an engine's pods: an HPA of KEDA's own with the same pace as ours."""
    name, behavior = resource.metadata.name, autoscaling.behavior
    behaviors = {"scaleUp": pace(behavior.scale_up), "scaleDown": pace(behavior.scale_down)}
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
            "pollingInterval": _POLL_SECONDS,
            "minReplicaCount": autoscaling.min_replicas,
            "maxReplicaCount": autoscaling.max_replicas,
            "advanced": {
                "restoreToOriginalReplicaCount": False,
                "horizontalPodAutoscalerConfig": {"behavior": behaviors},
            },
            "triggers": [
                _trigger(resource, autoscaling, metric)
                for metric in metrics(autoscaling, architecture)
            ],
        },
    }


def _trigger(
    resource: InferenceDeployment, autoscaling: Autoscaling, metric: Metric
) -> dict[str, Any]:
    percent = metric.average_percent or DEFAULT_PERCENT
    if metric.type == "CPU":
        # Of the runtime alone, as our own autoscaler's.
        used = {"value": str(percent), "containerName": RUNTIME}
        return {"type": "cpu", "name": "cpu", "metricType": "Utilization", "metadata": used}
    assert autoscaling.prometheus, "KEDA is never asked for without one"
    if metric.type == "KVUtilization":
        name, series, share = "kv-utilization", KV_UTILIZATION, f"{percent / 100:g}"
    else:
        share = str(metric.average_value or DEFAULT_QUEUED)
        name, series = "queued-requests", REQUESTS_WAITING
    # An average over pods is the sum by their number, which the autoscaler divides by.
    query = f"sum({series}{_of_pods(resource)})"
    return _query(autoscaling.prometheus, name, {"query": query, "threshold": share})


def _query(prometheus: Prometheus, name: str, asked: Mapping[str, str]) -> dict[str, Any]:
    """A trigger by a query; series that are not there are an error, not a zero: pods that nobody
    reads would else look idle.
    """
    metadata = {
        "serverAddress": prometheus.server_address,
        **asked,
        "activationThreshold": "0",
        "ignoreNullValues": "false",
    }
    trigger = {"type": "prometheus", "name": name, "metricType": "AverageValue"}
    shown = prometheus.authentication
    if shown is None:
        return {**trigger, "metadata": metadata}
    return {
        **trigger,
        "metadata": {**metadata, "authModes": ",".join(shown.modes)},
        "authenticationRef": {"name": shown.name, "kind": "TriggerAuthentication"},
    }


def _of_pods(resource: InferenceDeployment) -> str:
    """The label matchers of both slots' pods, by how Deployments name theirs: no pod of a
    deployment whose name only begins so.
    """
    meta = resource.metadata
    pods = f"{meta.name}-[ab]-[a-z0-9]+-[a-z0-9]{{5}}"
    return f'{{namespace="{meta.namespace}",pod=~"{pods}"}}'
