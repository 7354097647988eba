"""A name is looked up live when an autoscaler is wanted and the cache knows none, and only then."""

import asyncio
import time
from typing import Any

from serving_cases import NOW, deployment

from nacelle_operator.autoscaler_reader import AutoscalerReader
from nacelle_operator.cache import ObjectCache
from nacelle_operator.deployment.planner import DeploymentPlanner, Readers
from nacelle_operator.errors import NotFound
from nacelle_operator.kinds import HORIZONTAL_POD_AUTOSCALER, INFERENCE_DEPLOYMENT, Kind
from nacelle_operator.metrics_reader import MetricsReader, pool_of_pods
from nacelle_operator.objects.metadata import serving_metadata
from nacelle_operator.queue import Key
from nacelle_operator.route_reader import RouteReader

KEY = Key(INFERENCE_DEPLOYMENT.name, "team", "chat")
STRANGER = {"metadata": {"name": "chat", "uid": "s"}}


class Server:
    """Holds one autoscaler or none, and remembers what it was asked for."""

    def __init__(self, held: dict[str, Any] | None) -> None:
        self.held = held
        self.asked: list[tuple[Kind, str, str]] = []

    def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        self.asked.append((kind, namespace, name))
        if self.held is None:
            raise NotFound("none")
        return self.held

    def list(self, kind: Kind, namespace: str, selector: str) -> Any:
        raise AssertionError("no route is asked for")


def reasons(server: Server, *known: Any, **spec: Any) -> set[str]:
    """The reasons that a plan gives; the cache knows the deployment and `known`."""
    cache = ObjectCache()
    resource = deployment(**spec)
    raw = resource.model_dump(mode="json", by_alias=True, exclude_none=True)
    raw["metadata"]["resourceVersion"] = "1"
    cache.put(INFERENCE_DEPLOYMENT, raw)
    for manifest in known:
        cache.put(HORIZONTAL_POD_AUTOSCALER, manifest)
    metrics = MetricsReader(pool_of_pods(), time.monotonic)
    readers = Readers(AutoscalerReader(server), RouteReader(server), metrics)
    planner = DeploymentPlanner(cache, readers, {}, {})
    plan = asyncio.run(planner(KEY, NOW))
    assert plan.status is not None
    return {condition["reason"] for condition in plan.status["conditions"]}


def test_a_stranger_is_found() -> None:
    server = Server(STRANGER)
    assert "AutoscalerNameTaken" in reasons(server, autoscaling={"maxReplicas": 2})
    assert server.asked == [(HORIZONTAL_POD_AUTOSCALER, "team", "chat")]


def test_none_is_found() -> None:
    assert "AutoscalerPending" in reasons(Server(None), autoscaling={"maxReplicas": 2})


def test_nothing_is_asked_without_need() -> None:
    server = Server(STRANGER)
    reasons(server)
    meta = {**serving_metadata(deployment(), "chat"), "uid": "h", "resourceVersion": "1"}
    reasons(server, {"metadata": meta}, autoscaling={"maxReplicas": 2})
    assert server.asked == []
