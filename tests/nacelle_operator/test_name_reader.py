"""A name is looked up live when it is wanted and the cache knows no such object, and only then."""

import asyncio
import time
from typing import Any

import pytest
from serving_cases import NOW, deployment

from nacelle_operator.cache import ObjectCache
from nacelle_operator.deployment.planner import DeploymentPlanner, Readers
from nacelle_operator.errors import NotFound
from nacelle_operator.kinds import (
    HORIZONTAL_POD_AUTOSCALER,
    INFERENCE_DEPLOYMENT,
    NETWORK_POLICY,
    POD_MONITOR,
    SERVICE,
    Kind,
)
from nacelle_operator.metrics_reader import MetricsReader, pool_of_pods
from nacelle_operator.name_reader import NameReader
from nacelle_operator.objects.metadata import serving_metadata
from nacelle_operator.objects.service import service
from nacelle_operator.queue import Key
from nacelle_operator.unwatched_reader import UnwatchedReader

KEY = Key(INFERENCE_DEPLOYMENT.name, "team", "chat")
STRANGER = {"metadata": {"name": "chat", "namespace": "team", "uid": "s", "resourceVersion": "7"}}
SCALED = {"autoscaling": {"maxReplicas": 2}}
RESTRICTED = {"network": {"policy": "Restricted"}}
MONITORED = {"monitoring": {"podMonitor": {}}}


class Server:
    """Holds one object of each kind or none, and remembers what it was asked for."""

    def __init__(self, held: dict[str, Any] | None, *, knows_kinds: bool = True) -> None:
        self.held, self.knows_kinds = held, knows_kinds
        self.asked: list[tuple[Kind, str, str]] = []

    def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        self.asked.append((kind, namespace, name))
        if self.held is None:
            raise NotFound("none")
        return self.held

    def list(self, kind: Kind, namespace: str, selector: str) -> Any:
        if not self.knows_kinds:
            raise NotFound("no such kind")
        return []


def planned(server: Server, *known: tuple[Kind, Any], **spec: Any) -> tuple[ObjectCache, set[str]]:
    """The cache after a plan, and the reasons that it gives; the cache knows the deployment and
    `known`.
    """
    cache = ObjectCache()
    resource = deployment(**spec)
    raw = resource.model_dump(mode="json", by_alias=True, exclude_none=True)
    raw["metadata"]["resourceVersion"] = "1"
    cache.put(INFERENCE_DEPLOYMENT, raw)
    for kind, manifest in known:
        cache.put(kind, manifest)
    metrics = MetricsReader(pool_of_pods(), time.monotonic)
    readers = Readers(NameReader(server), UnwatchedReader(server), metrics)
    planner = DeploymentPlanner(cache, readers, {}, {})
    plan = asyncio.run(planner(KEY, NOW))
    assert plan.status is not None
    return cache, {condition["reason"] for condition in plan.status["conditions"]}


def ours(manifest: dict[str, Any] | None = None) -> dict[str, Any]:
    """A child of the deployment as the cache knows it."""
    made = manifest or {"metadata": serving_metadata(deployment(), "chat")}
    return {**made, "metadata": {**made["metadata"], "uid": "o", "resourceVersion": "1"}}


@pytest.mark.parametrize(
    ("kind", "wish", "taken", "pending"),
    [
        (HORIZONTAL_POD_AUTOSCALER, SCALED, "AutoscalerNameTaken", "AutoscalerPending"),
        (NETWORK_POLICY, RESTRICTED, "NetworkPolicyNameTaken", "NetworkPolicyPending"),
        (POD_MONITOR, MONITORED, "PodMonitorNameTaken", "PodMonitorPending"),
    ],
    ids=lambda value: value.name if isinstance(value, Kind) else "",
)
def test_a_stranger_is_found_or_none(kind: Kind, wish: Any, taken: str, pending: str) -> None:
    server = Server(STRANGER)
    assert taken in planned(server, **wish)[1]
    assert server.asked == [(kind, "team", "chat")]
    assert pending in planned(Server(None), **wish)[1]


def test_nothing_is_asked_without_need() -> None:
    server = Server(STRANGER)
    planned(server)
    planned(server, (HORIZONTAL_POD_AUTOSCALER, ours()), **SCALED)
    planned(server, (NETWORK_POLICY, ours()), **RESTRICTED)
    planned(server, (SERVICE, ours(service(deployment(), "a"))))
    assert server.asked == []


def test_a_kind_that_is_missing_is_told() -> None:
    _, told = planned(Server(None, knows_kinds=False), **MONITORED)
    assert "PodMonitorUnavailable" in told


def test_a_monitor_is_looked_for_as_long_as_the_service_remembers_it() -> None:
    remembering = (SERVICE, ours(service(deployment(), "a", remembers=["nacelle.dev/pod-monitor"])))
    server = Server(STRANGER)
    cache, _ = planned(server, remembering)
    assert server.asked == [(POD_MONITOR, "team", "chat")]
    assert cache.get(POD_MONITOR, "team", "chat") == {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        **STRANGER,
    }
    cache, _ = planned(Server(None), remembering, (POD_MONITOR, STRANGER))
    assert cache.get(POD_MONITOR, "team", "chat") is None, "no watch tells that it has gone"
