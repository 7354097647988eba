"""Observe, then plan: what the loop runs for an EngineBuild."""

from collections import defaultdict
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from nacelle_engine.progress import Progress
from nacelle_engine.recipe import Toolchain
from nacelle_operator.api.engine import Engine
from nacelle_operator.api.engine_build import EngineBuild
from nacelle_operator.build.observed import Claim, Observed
from nacelle_operator.build.plan import plan, plan_gone
from nacelle_operator.build.request import claims_of
from nacelle_operator.cache import ObjectCache
from nacelle_operator.kinds import ENGINE, ENGINE_BUILD, JOB, POD
from nacelle_operator.objects import names
from nacelle_operator.objects.build_job import PART
from nacelle_operator.objects.job_pod import CONTAINER
from nacelle_operator.parser import Parser
from nacelle_operator.plan import Plan
from nacelle_operator.queue import Key

_PART_LABEL = {names.PART: PART}
Manifest = dict[str, Any]


class Logs(Protocol):
    """Where progress comes from."""

    async def latest(self, namespace: str, pod: str, uid: str, container: str) -> Progress | None:
        """A pod's newest progress."""


class Claims(Protocol):
    """Where claims are looked up."""

    async def read(self, namespace: str, name: str) -> Claim:
        """The claim of that name."""


class BuildPlanner:
    """Plans for one EngineBuild at a time, from the cache, logs and claims."""

    def __init__(self, cache: ObjectCache, logs: Logs, claims: Claims, current: Toolchain) -> None:
        self._cache = cache
        self._logs = logs
        self._claims = claims
        self._current = current
        self._engines = Parser(Engine)
        self._builds = Parser(EngineBuild)

    async def __call__(self, key: Key, now: datetime) -> Plan:
        """The plan for this build as things stand."""
        raw = self._cache.get(ENGINE_BUILD, key.namespace, key.name)
        observed = self._cached(key.namespace)
        if raw is None:
            return plan_gone(observed, self._current)
        build = self._builds.parse(raw)
        if build.metadata.deletion_timestamp:
            return plan_gone(observed, self._current)
        looked = await self._looked_up(build, observed)
        return plan(build, looked, self._current, now)

    def _cached(self, namespace: str) -> Observed:
        pods: dict[str, list[Manifest]] = defaultdict(list)
        for pod in self._cache.select(POD, namespace, _PART_LABEL):
            pods[pod["metadata"]["labels"].get(names.JOB_NAME, "")].append(pod)
        jobs = self._cache.select(JOB, namespace, _PART_LABEL)
        engines = map(self._engines.parse, self._cache.select(ENGINE, namespace))
        builds = map(self._builds.parse, self._cache.select(ENGINE_BUILD, namespace))
        return Observed(
            jobs={job["metadata"]["name"]: job for job in jobs},
            pods=pods,
            engines={engine.metadata.name: engine for engine in engines},
            builds={build.metadata.name: build for build in builds},
        )

    async def _looked_up(self, build: EngineBuild, observed: Observed) -> Observed:
        namespace = build.metadata.namespace
        claims = {name: await self._claims.read(namespace, name) for name in claims_of(build.spec)}
        progress: dict[str, Progress] = {}
        for job in {job for target in build.status.targets for job in target.jobs}:
            for pod in observed.pods.get(job, ()):
                if pod.get("status", {}).get("phase") == "Running":
                    meta = pod["metadata"]
                    latest = await self._logs.latest(
                        namespace, meta["name"], meta["uid"], CONTAINER
                    )
                    if latest:
                        progress[meta["uid"]] = latest
        return replace(observed, claims=claims, progress=progress)
