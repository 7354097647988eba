"""The ScaledObject of KEDA: it writes the resource's replicas through /scale."""

from typing import Any, Final

from nacelle_engine.arch import Architecture
from nacelle_operator.api.autoscaling import IDLE_SECONDS, Autoscaling, Metric
from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.api.prometheus import Prometheus
from nacelle_operator.kinds import SCALED_OBJECT as KIND
from nacelle_operator.objects.activator_service import waiting_url
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
_RUNNING: Final = "nacelle_requests_running"
_ENDED: Final = "nacelle_requests_total"
# Of one that may sleep: how long the first request waits until it is seen.
_POLL_ASLEEP_SECONDS: Final = 5
# Requests are counted over some intervals of a Prometheus, each of 30 s at most.
_SEEN_OVER: Final = "2m"
# KEDA's own 3 s are soon over on a loaded Prometheus. A query that fails keeps the pods, but its
# time does not count as use: the first that answers with little then ends the patience.
_QUERY_MS: Final = 10_000


def scaled_object(
    resource: InferenceDeployment, autoscaling: Autoscaling, architecture: Architecture
) -> dict[str, Any]:
    """The ScaledObject of an engine's pods: an HPA of KEDA's own with the same pace as ours."""
    sleeps = autoscaling.min_replicas == 0
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
            **(_patience(autoscaling) if sleeps else {"pollingInterval": _POLL_SECONDS}),
            "minReplicaCount": autoscaling.min_replicas,
            "maxReplicaCount": autoscaling.max_replicas,
            "advanced": {
                "restoreToOriginalReplicaCount": False,
                "horizontalPodAutoscalerConfig": {"behavior": behaviors},
            },
            "triggers": [
                _trigger(resource, autoscaling, metric)
                for metric in metrics(autoscaling, architecture)
            ]
            + (_wakeful(resource, autoscaling) if sleeps else []),
        },
    }


def _patience(autoscaling: Autoscaling) -> dict[str, int]:
    """How long the last pod stays that nobody asks, also the one that it begins with."""
    idle = autoscaling.idle_seconds or IDLE_SECONDS
    return {
        "pollingInterval": _POLL_ASLEEP_SECONDS,
        "cooldownPeriod": idle,
        "initialCooldownPeriod": idle,
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
    return _query(resource, autoscaling.prometheus, (name, query, share))


def _wakeful(resource: InferenceDeployment, autoscaling: Autoscaling) -> list[dict[str, Any]]:
    """What keeps the last pod, and what wakes the first: neither ever asks for a second one."""
    assert autoscaling.prometheus, "KEDA is never asked for without one"
    pods = _of_pods(resource)
    used = (
        f"clamp_max(sum({REQUESTS_WAITING}{pods}) + sum({_RUNNING}{pods}) "
        f"+ sum(increase({_ENDED}{pods}[{_SEEN_OVER}])), 1)"
    )
    asked = {"url": waiting_url(resource), "valueLocation": "waiting", "targetValue": "1"}
    knock = {
        "type": "metrics-api",
        "name": "found-nobody",
        "metricType": "AverageValue",
        "metadata": {**asked, "activationTargetValue": "0"},
    }
    return [_query(resource, autoscaling.prometheus, ("in-use", used, "1")), knock]


def _query(
    resource: InferenceDeployment, prometheus: Prometheus, asked: tuple[str, str, str]
) -> dict[str, Any]:
    """A trigger by its name, query and threshold.

    Series that are not there are an error, not a zero: pods that nobody reads would else look
    idle. Only where no pods are asked for, there can be none.
    """
    name, query, threshold = asked
    metadata = {
        "serverAddress": prometheus.server_address,
        "query": query,
        "threshold": threshold,
        "activationThreshold": "0",
        "timeout": str(_QUERY_MS),
        "ignoreNullValues": "false" if resource.spec.replicas else "true",
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
