"""Observe, then plan: what the loop runs for an InferenceDeployment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.cache import ObjectCache
from nacelle_operator.deployment.failure import revision_pods
from nacelle_operator.deployment.history import History
from nacelle_operator.deployment.network import wants_policy
from nacelle_operator.deployment.observe import Observed, observe
from nacelle_operator.deployment.plan import plan
from nacelle_operator.deployment.pod_checks import ready_pods
from nacelle_operator.deployment.route import wanted_route
from nacelle_operator.deployment.unwatched import REMEMBERED
from nacelle_operator.kinds import (
    HORIZONTAL_POD_AUTOSCALER,
    HTTP_ROUTE,
    INFERENCE_DEPLOYMENT,
    NETWORK_POLICY,
    Kind,
)
from nacelle_operator.metrics_reader import Source
from nacelle_operator.objects import memory
from nacelle_operator.objects.gpu_labels import FEATURE_DISCOVERY, GpuLabels
from nacelle_operator.objects.tally import Tally
from nacelle_operator.parser import Parser
from nacelle_operator.plan import Plan
from nacelle_operator.queue import Key
from nacelle_operator.seen import Seen


class Names(Protocol):
    """Where an object is looked up that the cache does not know."""

    async def read(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        """The object of that kind and name, whoever made it."""


class MetricsOf(Protocol):
    """Where pods' metrics are read."""

    async def read(self, sources: Sequence[Source]) -> Tally | None:
        """The sum over pods; None when it is not known."""


class Unwatched(Protocol):
    """Where an object is looked up that nobody watches."""

    async def read(self, kind: Kind, namespace: str, name: str) -> Seen:
        """The object of that kind and name, whoever made it."""


@dataclass(frozen=True)
class Readers:
    """What is read live."""

    names: Names
    unwatched: Unwatched
    metrics: MetricsOf


class DeploymentPlanner:
    """Plans for one InferenceDeployment at a time, from the cache."""

    def __init__(
        self,
        cache: ObjectCache,
        readers: Readers,
        runtime_images: Mapping[str, str],
        triton_images: Mapping[str, str],
        activator_image: str = "",
        gpu_labels: GpuLabels = FEATURE_DISCOVERY,
    ) -> None:
        self._cache = cache
        self._readers = readers
        self._runtime_images = runtime_images
        self._triton_images = triton_images
        self._activator_image = activator_image
        self._gpu_labels = gpu_labels
        self._parser = Parser(InferenceDeployment)

    async def __call__(self, key: Key, now: datetime) -> Plan:
        """The plan for this deployment as things stand; its children go by owner references."""
        raw = self._cache.get(INFERENCE_DEPLOYMENT, key.namespace, key.name)
        if raw is None or raw["metadata"].get("deletionTimestamp"):
            return Plan()
        resource = self._parser.parse(raw)
        observed = observe(resource, self._cache, self._runtime_images, self._triton_images)
        observed = replace(
            observed, activator_image=self._activator_image, gpu_labels=self._gpu_labels
        )
        observed = await self._with_names(key, resource, observed)
        observed = await self._with_unwatched(key, resource, observed)
        if resource.spec.rollout.checks:
            tally = await self._readers.metrics.read(_measured(resource, observed))
            observed = replace(observed, tally=tally)
        return plan(resource, observed, now)

    async def _with_names(
        self, key: Key, resource: InferenceDeployment, observed: Observed
    ) -> Observed:
        """The surroundings with those that bear a wanted name, and no label to be watched by."""
        read = self._readers.names.read
        if resource.spec.autoscaling and observed.autoscaler is None:
            found = await read(HORIZONTAL_POD_AUTOSCALER, key.namespace, key.name)
            observed = replace(observed, autoscaler=found)
        if wants_policy(resource) and observed.network_policy is None:
            found = await read(NETWORK_POLICY, key.namespace, key.name)
            observed = replace(observed, network_policy=found)
        return observed

    async def _with_unwatched(
        self, key: Key, resource: InferenceDeployment, observed: Observed
    ) -> Observed:
        """The surroundings with the objects of kinds that a cluster may not know."""
        kinds = [each.kind for each in REMEMBERED if each.is_looked_for(resource, observed)]
        if wanted_route(resource) or observed.slot_services:
            kinds.append(HTTP_ROUTE)
        return replace(observed, unwatched={kind: await self._look(kind, key) for kind in kinds})

    async def _look(self, kind: Kind, key: Key) -> Seen:
        """What is there now; the cache takes it in since no watch tells."""
        seen = await self._readers.unwatched.read(kind, key.namespace, key.name)
        known = self._cache.get(kind, key.namespace, key.name)
        if seen.found:
            self._cache.put(kind, seen.found)
        elif known:
            self._cache.remove(kind, known)
        return seen


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
