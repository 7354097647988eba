"""Observe, then plan: what the loop runs for an InferenceDeployment."""

from collections.abc import Mapping
from datetime import datetime

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.cache import ObjectCache
from nacelle_operator.deployment.observe import observe
from nacelle_operator.deployment.plan import plan
from nacelle_operator.kinds import INFERENCE_DEPLOYMENT
from nacelle_operator.parser import Parser
from nacelle_operator.plan import Plan
from nacelle_operator.queue import Key


class DeploymentPlanner:
    """Plans for one InferenceDeployment at a time, from the cache."""

    def __init__(self, cache: ObjectCache, runtime_images: Mapping[str, str]) -> None:
        self._cache = cache
        self._runtime_images = runtime_images
        self._parser = Parser(InferenceDeployment)

    async def __call__(self, key: Key, now: datetime) -> Plan:
        """The plan for this deployment as things stand; its children go by owner references."""
        raw = self._cache.get(INFERENCE_DEPLOYMENT, key.namespace, key.name)
        if raw is None or raw["metadata"].get("deletionTimestamp"):
            return Plan()
        resource = self._parser.parse(raw)
        return plan(resource, observe(resource, self._cache, self._runtime_images), now)
