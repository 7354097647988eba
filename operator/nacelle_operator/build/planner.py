"""Observe, then plan: what the loop runs for an EngineBuild."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from nacelle_engine.progress import Progress
from nacelle_engine.recipe import Toolchain
from nacelle_operator.api.engine import Engine
from nacelle_operator.api.engine_build import EngineBuild
from nacelle_operator.build.observed import Claim, Observed
from nacelle_operator.build.plan import plan, plan_gone, silent_jobs
from nacelle_operator.build.request import claims_of, target_requests
from nacelle_operator.cache import ObjectCache
from nacelle_operator.index import BY_JOB
from nacelle_operator.kinds import ENGINE, ENGINE_BUILD, JOB, POD, Kind
from nacelle_operator.live_look import LiveLook
from nacelle_operator.objects import names
from nacelle_operator.objects.build_job import PART
from nacelle_operator.objects.gpu_labels import FEATURE_DISCOVERY, GpuLabels
from nacelle_operator.objects.job_pod import CONTAINER
from nacelle_operator.objects.owner import is_of_a_namesake
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
    """Plans for one EngineBuild at a time, from the cache, live looks, logs and claims."""

    def __init__(
        self,
        cache: ObjectCache,
        look: LiveLook,
        logs: Logs,
        claims: Claims,
        current: Toolchain,
        gpu_labels: GpuLabels = FEATURE_DISCOVERY,
    ) -> None:
        self._cache = cache
        self._look = look
        self._logs = logs
        self._claims = claims
        self._current = current
        self._gpu_labels = gpu_labels
        self._engines = Parser(Engine)
        self._builds = Parser(EngineBuild)

    async def __call__(self, key: Key, now: datetime) -> Plan:
        """The plan for this build as things stand."""
        await self._look.builds(key.namespace, [key.name])
        raw = self._cache.get(ENGINE_BUILD, key.namespace, key.name)
        build = self._builds.parse(raw) if raw else None
        if build is None or build.metadata.deletion_timestamp:
            return await self._gone(key.namespace)
        observed = self._cached(build)
        if await self._look.builds(key.namespace, _creators(observed.jobs.values())):
            observed = self._cached(build)
        if silent := silent_jobs(build, observed, self._current, now):
            await self._look.pods_of(silent)
            observed = self._cached(build)
        return plan(build, await self._looked_up(build, observed), self._current, now)

    async def _gone(self, namespace: str) -> Plan:
        """The plan of a build that is gone: its Jobs go, unless another wants them."""
        jobs = self._cache.select(JOB, namespace, _PART_LABEL)
        decided = plan_gone(self._with_jobs(namespace, jobs), self._current)
        unwanted = {deletion.name for deletion in decided.deletes}
        going = [job for job in jobs if job["metadata"]["name"] in unwanted]
        if await self._look.builds(namespace, _creators(going)):
            return plan_gone(self._with_jobs(namespace, jobs), self._current)
        return decided

    def _cached(self, build: EngineBuild) -> Observed:
        """What concerns a build: its Jobs and those it asks for, and Engines of the same keys."""
        namespace, meta = build.metadata.namespace, build.metadata
        jobs = list(self._cache.select(JOB, namespace, {**_PART_LABEL, names.BUILD: meta.name}))
        engines: list[Manifest] = []
        for request in target_requests(build, self._current):
            same = {names.REQUEST_KEY: names.key_label(request.key)}
            jobs += self._cache.select(JOB, namespace, {**_PART_LABEL, **same})
            engines += self._cache.select(ENGINE, namespace, same)
        for target in build.status.targets:
            jobs += self._named(JOB, namespace, target.jobs)
            engines += self._named(
                ENGINE, namespace, [ref.name] if (ref := target.engine_ref) else ()
            )
        parsed = map(self._engines.parse, engines)
        observed = self._with_jobs(namespace, jobs)
        return replace(observed, engines={engine.metadata.name: engine for engine in parsed})

    def _with_jobs(self, namespace: str, found: Iterable[Manifest]) -> Observed:
        """These Jobs, their pods, and every build that asks for one of them."""
        jobs = {job["metadata"]["name"]: job for job in found}
        builds = {
            raw["metadata"]["name"]: self._builds.parse(raw)
            for job in jobs
            for raw in self._cache.referring(ENGINE_BUILD, namespace, BY_JOB, job)
        }
        pods = {name: self._pods(namespace, name, job) for name, job in jobs.items()}
        ahead = frozenset(name for name, job in jobs.items() if self._is_ahead(namespace, job))
        return Observed(jobs=jobs, pods=pods, builds=builds, ahead=ahead)

    def _pods(self, namespace: str, name: str, job: Manifest) -> list[Manifest]:
        """A Job's pods; those of one that had its name, deleted since, may not be gone yet."""
        found = self._cache.select(POD, namespace, {**_PART_LABEL, names.JOB_NAME: name})
        return [pod for pod in found if not is_of_a_namesake(job, pod)]

    def _is_ahead(self, namespace: str, job: Manifest) -> bool:
        """Whether a Job was made for a newer spec of its build than the cache has."""
        meta = job["metadata"]
        creator = self._cache.get(ENGINE_BUILD, namespace, meta["labels"].get(names.BUILD, ""))
        if creator is None or creator["metadata"]["creationTimestamp"] > meta["creationTimestamp"]:
            return False  # or for another build of that name
        made_for = int(meta.get("annotations", {}).get(names.GENERATION, 0))
        return made_for > int(creator["metadata"]["generation"])

    def _named(self, kind: Kind, namespace: str, wanted: Iterable[str]) -> Iterator[Manifest]:
        found = (self._cache.get(kind, namespace, name) for name in wanted)
        return (manifest for manifest in found if manifest is not None)

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
        return replace(observed, claims=claims, progress=progress, gpu_labels=self._gpu_labels)


def _creators(jobs: Iterable[Mapping[str, Any]]) -> set[str]:
    """The builds that made these Jobs, but for those that are going."""
    there = [job["metadata"] for job in jobs if not job["metadata"].get("deletionTimestamp")]
    return {meta.get("labels", {}).get(names.BUILD, "") for meta in there} - {""}
