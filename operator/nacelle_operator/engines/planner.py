"""Observe, then plan: what the loop runs for an Engine."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from nacelle_engine.recipe import Toolchain
from nacelle_operator.api.engine import Engine, User
from nacelle_operator.api.engine_build import EngineBuild
from nacelle_operator.build.request import target_requests
from nacelle_operator.cache import ObjectCache
from nacelle_operator.engines.collection import Collection
from nacelle_operator.engines.plan import EngineObserved, plan
from nacelle_operator.kinds import ENGINE, ENGINE_BUILD, INFERENCE_DEPLOYMENT, JOB, POD
from nacelle_operator.objects import names
from nacelle_operator.parser import Parser
from nacelle_operator.plan import Plan
from nacelle_operator.queue import Key
from nacelle_operator.routing import engines_of_build, engines_of_deployment

Manifest = dict[str, Any]


class EnginePlanner:
    """Plans for one Engine at a time, from the cache alone."""

    def __init__(self, cache: ObjectCache, current: Toolchain, collection: Collection) -> None:
        self._cache = cache
        self._collection = collection
        self._current = current
        self._engines = Parser(Engine)
        self._builds = Parser(EngineBuild)

    async def __call__(self, key: Key, now: datetime) -> Plan:
        """The plan for this Engine as things stand."""
        raw = self._cache.get(ENGINE, key.namespace, key.name)
        if raw is None or raw["metadata"].get("deletionTimestamp"):
            return Plan()
        engine = self._engines.parse(raw)
        image = self._current.builder_image
        return plan(engine, self._observed(engine), image, self._collection, now)

    def _observed(self, engine: Engine) -> EngineObserved:
        namespace = engine.metadata.namespace
        mine = {names.ENGINE: engine.metadata.name}
        pods: dict[str, list[Manifest]] = defaultdict(list)
        for pod in self._cache.select(POD, namespace, mine):
            pods[pod["metadata"]["labels"].get(names.JOB_NAME, "")].append(pod)
        creator = engine.metadata.labels.get(names.BUILD, "")
        return EngineObserved(
            users=tuple(self._users(engine)),
            creator_exists=self._cache.get(ENGINE_BUILD, namespace, creator) is not None,
            jobs={
                job["metadata"]["name"]: job
                for job in self._cache.select(JOB, namespace, mine)
                if names.DEPLOYMENT not in job["metadata"]["labels"]
            },
            pods=pods,
        )

    def _users(self, engine: Engine) -> Iterable[User]:
        namespace, name = engine.metadata.namespace, engine.metadata.name
        for raw in self._cache.select(ENGINE_BUILD, namespace):
            if name in engines_of_build(raw) or self._asks_for(raw, engine):
                yield User(kind=ENGINE_BUILD.name, name=raw["metadata"]["name"])
        for raw in self._cache.select(INFERENCE_DEPLOYMENT, namespace):
            if name in engines_of_deployment(raw) or self._has_pods(raw, name):
                yield User(kind=INFERENCE_DEPLOYMENT.name, name=raw["metadata"]["name"])

    def _has_pods(self, raw: Manifest, name: str) -> bool:
        """Whether pods of a deployment still run with an engine that it names no more."""
        meta = raw["metadata"]
        return any(
            self._cache.select(POD, meta["namespace"], {names.DEPLOYMENT: meta["name"], use: name})
            for use in (names.ENGINE, names.DRAFT_ENGINE)
        )

    def _asks_for(self, raw: Manifest, engine: Engine) -> bool:
        """Whether a build asks for what the engine answers, recorded in its status or not yet."""
        label = engine.metadata.labels.get(names.REQUEST_KEY)
        if label is None:
            return False
        requests = target_requests(self._builds.parse(raw), self._current)
        return any(names.key_label(request.key) == label for request in requests)
