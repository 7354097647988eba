"""KEDA's ScaledObject, whole; and that what it asks for is what the runtime tells of."""

import re
from typing import Any

import pytest
from serving_cases import deployment

from nacelle_engine.arch import Architecture
from nacelle_operator.objects.horizontal_pod_autoscaler import horizontal_pod_autoscaler
from nacelle_operator.objects.scaled_object import scaled_object

ADDRESS = "http://prometheus:9090"
PODS = 'namespace="team",pod=~"chat-[ab]-[a-z0-9]+-[a-z0-9]{5}"'


def made(architecture: Architecture = Architecture.X86_64_V3, **wish: Any) -> dict[str, Any]:
    kept = {"provider": "KEDA", "maxReplicas": 4, "prometheus": {"serverAddress": ADDRESS}, **wish}
    resource = deployment(autoscaling=kept)
    assert resource.spec.autoscaling
    return scaled_object(resource, resource.spec.autoscaling, architecture)


def asked(name: str, series: str, threshold: str) -> dict[str, Any]:
    return {
        "type": "prometheus",
        "name": name,
        "metricType": "AverageValue",
        "metadata": {
            "serverAddress": ADDRESS,
            "query": f"sum({series}{{{PODS}}})",
            "threshold": threshold,
            "activationThreshold": "0",
            "timeout": "10000",
            "ignoreNullValues": "false",
        },
    }


def cpu(percent: str) -> dict[str, Any]:
    used = {"value": percent, "containerName": "runtime"}
    return {"type": "cpu", "name": "cpu", "metricType": "Utilization", "metadata": used}


WAITING = asked("queued-requests", "nacelle_requests_waiting", "4")
HELD = asked("kv-utilization", "nacelle_kv_utilization", "0.8")


def test_the_whole_object() -> None:
    whole = made(Architecture.SM_90, minReplicas=2)
    assert (whole["apiVersion"], whole["kind"]) == ("keda.sh/v1alpha1", "ScaledObject")
    assert whole["metadata"]["name"] == "chat"
    assert whole["metadata"]["ownerReferences"][0]["uid"] == "d-uid"
    spec = whole["spec"]
    behavior = spec.pop("advanced")
    assert spec == {
        "scaleTargetRef": {
            "apiVersion": "nacelle.dev/v1alpha1",
            "kind": "InferenceDeployment",
            "name": "chat",
        },
        "pollingInterval": 15,
        "minReplicaCount": 2,
        "maxReplicaCount": 4,
        "triggers": [WAITING, HELD],
    }
    resource = deployment(autoscaling={"maxReplicas": 4})
    assert resource.spec.autoscaling
    ours = horizontal_pod_autoscaler(resource, resource.spec.autoscaling, Architecture.SM_90)
    assert behavior == {
        "restoreToOriginalReplicaCount": False,
        "horizontalPodAutoscalerConfig": {"behavior": ours["spec"]["behavior"]},
    }


@pytest.mark.parametrize(
    ("metric", "wanted"),
    [
        ({"type": "CPU"}, cpu("80")),
        ({"type": "CPU", "averagePercent": 55}, cpu("55")),
        ({"type": "KVUtilization"}, HELD),
        (
            {"type": "KVUtilization", "averagePercent": 100},
            asked("kv-utilization", "nacelle_kv_utilization", "1"),
        ),
        ({"type": "QueuedRequests"}, WAITING),
        (
            {"type": "QueuedRequests", "averageValue": 2500},
            asked("queued-requests", "nacelle_requests_waiting", "2500"),
        ),
    ],
)
def test_a_metric(metric: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert made(metrics=[metric])["spec"]["triggers"] == [wanted]


def test_metrics_that_are_left_out_suit_the_engine() -> None:
    assert made(Architecture.X86_64_V4)["spec"]["triggers"] == [cpu("80")]
    assert made(Architecture.SM_90)["spec"]["triggers"] == [WAITING, HELD]


def test_what_is_shown_to_the_prometheus_is_named_by_reference() -> None:
    shown = {"name": "token", "modes": ["bearer", "tls"]}
    address = {"serverAddress": ADDRESS, "authentication": shown}
    triggers = made(prometheus=address, metrics=[{"type": "CPU"}, {"type": "QueuedRequests"}])[
        "spec"
    ]["triggers"]
    reference = {"name": "token", "kind": "TriggerAuthentication"}
    assert triggers == [
        cpu("80"),
        {
            **WAITING,
            "metadata": {**WAITING["metadata"], "authModes": "bearer,tls"},
            "authenticationRef": reference,
        },
    ]


@pytest.mark.parametrize(
    ("pod", "is_ours"),
    [
        ("chat-a-7d9c6b5f4-x2x4z", True),
        ("chat-b-7d9c6b5f4-x2x4z", True),
        ("chat-c-7d9c6b5f4-x2x4z", False),
        ("chat-a-a-7d9c6b5f4-x2x4z", False),
        ("my-chat-a-7d9c6b5f4-x2x4z", False),
        ("chat-activator-7d9c6b5f4-x2x4z", False),
    ],
)
def test_the_series_are_those_of_its_own_pods(pod: str, is_ours: bool) -> None:
    """A Prometheus matches the whole value, as fullmatch does."""
    pattern = re.search('pod=~"(.*)"', WAITING["metadata"]["query"])
    assert pattern
    assert bool(re.fullmatch(pattern[1], pod)) is is_ours


USED = (
    f"clamp_max(sum(nacelle_requests_waiting{{{PODS}}}) + sum(nacelle_requests_running{{{PODS}}}) "
    f"+ sum(increase(nacelle_requests_total{{{PODS}}}[2m])), 1)"
)
KNOCK = {
    "type": "metrics-api",
    "name": "found-nobody",
    "metricType": "AverageValue",
    "metadata": {
        "url": "http://chat-activator.team.svc:8000/waiting",
        "valueLocation": "waiting",
        "targetValue": "1",
        "activationTargetValue": "0",
    },
}


@pytest.mark.parametrize(("replicas", "ignored"), [(1, "false"), (0, "true")])
def test_one_that_may_sleep_is_kept_awake_by_use_and_woken_by_who_finds_nobody(
    replicas: int, ignored: str
) -> None:
    """Where no pod is asked for, a Prometheus may know none."""
    wish = {
        "provider": "KEDA",
        "minReplicas": 0,
        "maxReplicas": 4,
        "prometheus": {"serverAddress": ADDRESS},
        "metrics": [{"type": "QueuedRequests"}],
    }
    resource = deployment(autoscaling=wish, replicas=replicas)
    assert resource.spec.autoscaling
    spec = scaled_object(resource, resource.spec.autoscaling, Architecture.SM_90)["spec"]
    assert (spec["minReplicaCount"], spec["pollingInterval"]) == (0, 5)
    assert (spec["cooldownPeriod"], spec["initialCooldownPeriod"]) == (300, 300)
    waiting, used, knock = spec["triggers"]
    assert waiting["metadata"] == {**WAITING["metadata"], "ignoreNullValues": ignored}
    assert used == {
        **WAITING,
        "name": "in-use",
        "metadata": {
            **WAITING["metadata"],
            "query": USED,
            "threshold": "1",
            "ignoreNullValues": ignored,
        },
    }
    assert knock == KNOCK


def test_how_long_one_stays_awake_is_said() -> None:
    spec = made(minReplicas=0, idleSeconds=45)["spec"]
    assert (spec["cooldownPeriod"], spec["initialCooldownPeriod"]) == (45, 45)
    assert "cooldownPeriod" not in made(minReplicas=1)["spec"]
