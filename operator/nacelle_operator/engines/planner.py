"""Observe, then plan: what the loop runs for an Engine."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from nacelle_engine.recipe import Toolchain
from nacelle_operator.api.engine import Engine, User
from nacelle_operator.cache import ObjectCache
from nacelle_operator.engines.collection import Collection
from nacelle_operator.engines.plan import EngineObserved, is_to_go, plan, silent_job
from nacelle_operator.index import BY_ENGINE, BY_REQUEST
from nacelle_operator.kinds import ENGINE, ENGINE_BUILD, INFERENCE_DEPLOYMENT, JOB, POD, Kind
from nacelle_operator.live_look import LiveLook
from nacelle_operator.objects import names
from nacelle_operator.objects.owner import is_controlled_by, is_of_a_namesake
from nacelle_operator.parser import Parser
from nacelle_operator.plan import Plan
from nacelle_operator.queue import Key

Manifest = dict[str, Any]


class EnginePlanner:
    """Plans for one Engine at a time, from the cache and live looks."""

    def __init__(
        self, cache: ObjectCache, look: LiveLook, current: Toolchain, collection: Collection
    ) -> None:
        self._cache = cache
        self._look = look
        self._collection = collection
        self._current = current
        self._engines = Parser(Engine)

    async def __call__(self, key: Key, now: datetime) -> Plan:
        """The plan for this Engine as things stand."""
        raw = self._cache.get(ENGINE, key.namespace, key.name)
        if raw is None or raw["metadata"].get("deletionTimestamp"):
            return Plan()
        engine = self._engines.parse(raw)
        image = self._current.builder_image
        observed = self._observed(engine)
        if silent := silent_job(engine, observed):
            await self._look.pods_of([silent])
            observed = self._observed(engine)
        decided = plan(engine, observed, image, self._collection, now)
        if decided.creates and is_to_go(engine, observed):
            # Before its folder is deleted: whoever has come to use it since.
            await self._look.users_of_engines(key.namespace)
            decided = plan(engine, self._observed(engine), image, self._collection, now)
        return decided

    def _observed(self, engine: Engine) -> EngineObserved:
        namespace = engine.metadata.namespace
        mine = {names.ENGINE: engine.metadata.name}
        jobs = {
            job["metadata"]["name"]: job
            for job in self._cache.select(JOB, namespace, mine)
            # Not one of an engine that had this name: what it found out is not about this one.
            if is_controlled_by(engine, job)
        }
        pods: dict[str, list[Manifest]] = defaultdict(list)
        for pod in self._cache.select(POD, namespace, mine):
            name = pod["metadata"]["labels"].get(names.JOB_NAME, "")
            if name in jobs and not is_of_a_namesake(jobs[name], pod):
                pods[name].append(pod)
        creator = engine.metadata.labels.get(names.BUILD, "")
        return EngineObserved(
            users=tuple(self._users(engine)),
            creator_exists=self._cache.get(ENGINE_BUILD, namespace, creator) is not None,
            jobs=jobs,
            pods=pods,
        )

    def _users(self, engine: Engine) -> Iterable[User]:
        builds = {*self._of(ENGINE_BUILD, BY_ENGINE, engine), *self._askers(engine)}
        deployments = {*self._of(INFERENCE_DEPLOYMENT, BY_ENGINE, engine), *self._running(engine)}
        yield from (User(kind=ENGINE_BUILD.name, name=name) for name in sorted(builds))
        yield from (User(kind=INFERENCE_DEPLOYMENT.name, name=name) for name in sorted(deployments))

    def _of(self, kind: Kind, index: str, engine: Engine, value: str | None = None) -> list[str]:
        """Names of the resources that an index gives for the engine's name, or another value."""
        found = value or engine.metadata.name
        referring = self._cache.referring(kind, engine.metadata.namespace, index, found)
        return [raw["metadata"]["name"] for raw in referring]

    def _askers(self, engine: Engine) -> list[str]:
        """Builds that ask for what the engine answers, recorded in their status or not yet."""
        label = engine.metadata.labels.get(names.REQUEST_KEY)
        return self._of(ENGINE_BUILD, BY_REQUEST, engine, label) if label else []

    def _running(self, engine: Engine) -> Iterator[str]:
        """Deployments whose pods still run with an engine that the spec names no more."""
        namespace = engine.metadata.namespace
        for use in (names.ENGINE, names.DRAFT_ENGINE):
            for pod in self._cache.select(POD, namespace, {use: engine.metadata.name}):
                name = pod["metadata"]["labels"].get(names.DEPLOYMENT, "")
                if self._cache.get(INFERENCE_DEPLOYMENT, namespace, name):
                    yield name
