"""Observe, then plan: what the loop runs for an InferenceDeployment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.cache import ObjectCache
from nacelle_operator.deployment.failure import revision_pods
from nacelle_operator.deployment.history import History
from nacelle_operator.deployment.observe import Observed, observe
from nacelle_operator.deployment.plan import plan
from nacelle_operator.deployment.pod_checks import ready_pods
from nacelle_operator.deployment.route import wanted_route
from nacelle_operator.kinds import HTTP_ROUTE, INFERENCE_DEPLOYMENT
from nacelle_operator.metrics_reader import Source
from nacelle_operator.objects import memory
from nacelle_operator.objects.tally import Tally
from nacelle_operator.parser import Parser
from nacelle_operator.plan import Plan
from nacelle_operator.queue import Key
from nacelle_operator.route_reader import RouteSeen


class Autoscalers(Protocol):
    """Where an autoscaler is looked up that the cache does not know."""

    async def read(self, namespace: str, name: str) -> dict[str, Any] | None:
        """The autoscaler of that name, whoever made it."""


class MetricsOf(Protocol):
    """Where pods' metrics are read."""

    async def read(self, sources: Sequence[Source]) -> Tally | None:
        """The sum over pods; None when it is not known."""


class Routes(Protocol):
    """Where a route is looked up, which nobody watches."""

    async def read(self, namespace: str, name: str) -> RouteSeen:
        """The HTTPRoute of that name, whoever made it."""


@dataclass(frozen=True)
class Readers:
    """What is read live."""

    autoscalers: Autoscalers
    routes: Routes
    metrics: MetricsOf


class DeploymentPlanner:
    """Plans for one InferenceDeployment at a time, from the cache."""

    def __init__(
        self,
        cache: ObjectCache,
        readers: Readers,
        runtime_images: Mapping[str, str],
        triton_images: Mapping[str, str],
    ) -> None:
        self._cache = cache
        self._readers = readers
        self._runtime_images = runtime_images
        self._triton_images = triton_images
        self._parser = Parser(InferenceDeployment)

    async def __call__(self, key: Key, now: datetime) -> Plan:
        """The plan for this deployment as things stand; its children go by owner references."""
        raw = self._cache.get(INFERENCE_DEPLOYMENT, key.namespace, key.name)
        if raw is None or raw["metadata"].get("deletionTimestamp"):
            return Plan()
        resource = self._parser.parse(raw)
        observed = observe(resource, self._cache, self._runtime_images, self._triton_images)
        if resource.spec.autoscaling and observed.autoscaler is None:
            found = await self._readers.autoscalers.read(key.namespace, key.name)
            observed = replace(observed, autoscaler=found)
        if wanted_route(resource) or observed.slot_services:
            observed = await self._with_route(key, observed)
        if resource.spec.rollout.checks:
            tally = await self._readers.metrics.read(_measured(resource, observed))
            observed = replace(observed, tally=tally)
        return plan(resource, observed, now)

    async def _with_route(self, key: Key, observed: Observed) -> Observed:
        """The surroundings with the live route, which the cache takes in since no watch tells."""
        seen = await self._readers.routes.read(key.namespace, key.name)
        known = self._cache.get(HTTP_ROUTE, key.namespace, key.name)
        if seen.route:
            self._cache.put(HTTP_ROUTE, seen.route)
        elif known:
            self._cache.remove(HTTP_ROUTE, known)
        return replace(observed, route=seen.route, knows_routes=seen.is_known)


def _measured(resource: InferenceDeployment, observed: Observed) -> list[Source]:
    """The pods of the revision under way that answer."""
    newest = History.read(observed.revisions).newest
    if newest is None or newest.memory.outcome != memory.ROLLING_OUT:
        return []
    openai = resource.spec.frontends.openai
    return [
        Source(pod["metadata"]["uid"], pod["status"]["podIP"], openai.port, openai.scheme)
        for pod in ready_pods(revision_pods(observed.pods, newest))
        if pod["status"].get("podIP")
    ]
