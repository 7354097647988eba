"""Observe, then plan: what the loop runs for an InferenceDeployment."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.cache import ObjectCache
from nacelle_operator.deployment.observe import observe
from nacelle_operator.deployment.plan import plan
from nacelle_operator.kinds import INFERENCE_DEPLOYMENT
from nacelle_operator.parser import Parser
from nacelle_operator.plan import Plan
from nacelle_operator.queue import Key


class Autoscalers(Protocol):
    """Where an autoscaler is looked up that the cache does not know."""

    async def read(self, namespace: str, name: str) -> dict[str, Any] | None:
        """The autoscaler of that name, whoever made it."""


class DeploymentPlanner:
    """Plans for one InferenceDeployment at a time, from the cache."""

    def __init__(
        self,
        cache: ObjectCache,
        autoscalers: Autoscalers,
        runtime_images: Mapping[str, str],
        triton_images: Mapping[str, str],
    ) -> None:
        self._cache = cache
        self._autoscalers = autoscalers
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
            found = await self._autoscalers.read(key.namespace, key.name)
            observed = replace(observed, autoscaler=found)
        return plan(resource, observed, now)
