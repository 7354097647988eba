"""What cannot be taken back is decided on what the API server has, though no watch told of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from build_world import KEY, START, TOOLCHAIN, published, spec
from serving_cases import engine_spec

from nacelle_engine.progress import Progress
from nacelle_operator.api.engine import Engine
from nacelle_operator.build.observed import Claim
from nacelle_operator.build.planner import BuildPlanner
from nacelle_operator.cache import Keep, ObjectCache
from nacelle_operator.cluster import Cluster
from nacelle_operator.conditions import timestamp
from nacelle_operator.engines.collection import Collection
from nacelle_operator.engines.planner import EnginePlanner
from nacelle_operator.errors import NotFound
from nacelle_operator.feed import Feed
from nacelle_operator.index import indexers
from nacelle_operator.kinds import ENGINE, ENGINE_BUILD, INFERENCE_DEPLOYMENT, JOB, POD, Kind
from nacelle_operator.live_look import LiveLook
from nacelle_operator.metrics import Metrics
from nacelle_operator.objects import names
from nacelle_operator.objects.engine_job import sweep_job
from nacelle_operator.plan import Plan
from nacelle_operator.queue import Key

NAME = f"eng-{KEY[:16]}"
Manifest = dict[str, Any]


@dataclass
class Listed:
    items: list[Manifest]


class Live:
    """What the API server has, and what it was asked for."""

    def __init__(self, *pods: Manifest, builds: Sequence[Manifest] = ()) -> None:
        self.objects: dict[Kind, list[Manifest]] = {POD: [*pods], ENGINE_BUILD: [*builds]}
        self.asked: list[tuple[Kind, str]] = []

    def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
        assert namespace == "ns"
        self.asked.append((kind, name))
        for manifest in self.objects[kind]:
            if manifest["metadata"]["name"] == name:
                return manifest
        raise NotFound(f"{kind.plural} {name}")

    def list(self, kind: Kind, namespace: str, selector: str = "", *, keep: Keep) -> Listed:
        assert namespace == "ns"
        self.asked.append((kind, selector))
        return Listed([keep(kind, manifest) for manifest in self.objects.get(kind, ())])


class Silent:
    """Neither logs nor claims are of interest here."""

    async def latest(self, namespace: str, pod: str, uid: str, container: str) -> Progress | None:
        return None

    async def read(self, namespace: str, name: str) -> Claim:
        return Claim(name, True, ("ReadWriteMany",))


def made(name: str, labels: dict[str, str] | None = None, **rest: Any) -> Manifest:
    meta = {"name": name, "namespace": "ns", "uid": name, "resourceVersion": "1", "generation": 1}
    stamp = {"creationTimestamp": timestamp(START), "labels": labels or {}}
    return {"metadata": {**meta, **stamp}, "spec": {}, **rest}


def pod(job: Manifest, phase: str, message: str = "", version: str = "1") -> Manifest:
    labels = {**job["metadata"]["labels"], names.JOB_NAME: job["metadata"]["name"]}
    found = made(f"{job['metadata']['name']}-x", labels, status={"phase": phase})
    found["metadata"]["resourceVersion"] = version
    if message:
        state = {"terminated": {"exitCode": 0, "message": message}}
        found["status"]["containerStatuses"] = [{"name": "builder", "state": state}]
    return found


def finished(job: Manifest, type_: str = "Complete", **status: int) -> Manifest:
    condition = {"type": type_, "status": "True", "lastTransitionTime": timestamp(START)}
    made = {"namespace": "ns", "uid": "j", "creationTimestamp": timestamp(START)}
    meta = {**made, **job["metadata"], "resourceVersion": "5"}
    return {**job, "metadata": meta, "status": {"conditions": [condition], **status}}


def looking(cache: ObjectCache, live: Live) -> LiveLook:
    return LiveLook(cache, live, lambda _: None)


async def build_plan(cache: ObjectCache, live: Live) -> Plan:
    silent = Silent()
    planner = BuildPlanner(cache, looking(cache, live), silent, silent, TOOLCHAIN)
    return await planner(Key(ENGINE_BUILD.name, "ns", "b"), START + timedelta(hours=1))


async def begun() -> tuple[ObjectCache, Manifest]:
    """A cache with one build, and the Job that it asks for."""
    cache = ObjectCache(indexers(TOOLCHAIN))
    cache.put(ENGINE_BUILD, made("b", spec=spec()))
    decided = await build_plan(cache, Live())
    (job,) = decided.creates
    recorded = made("b", spec=spec(), status=decided.status)
    recorded["metadata"]["resourceVersion"] = "2"
    cache.put(ENGINE_BUILD, recorded)
    return cache, dict(job)


def reasons(decided: Plan) -> list[str]:
    assert decided.status is not None
    return [target["conditions"][0]["reason"] for target in decided.status["targets"]]


async def test_an_end_that_was_not_watched_is_looked_up() -> None:
    for known in ((), ("Running",)):
        cache, job = await begun()
        cache.put(JOB, finished(job, succeeded=1))
        for phase in known:
            cache.put(POD, pod(job, phase))
        live = Live(pod(job, "Succeeded", published(), version="2"))
        decided = await build_plan(cache, live)
        selector = f"{names.JOB_NAME}={job['metadata']['name']}"
        assert live.asked == [(POD, selector)]
        assert [m["metadata"]["name"] for m in decided.creates] == [NAME]
        # It is remembered: nothing is looked up again.
        await build_plan(cache, live)
        assert len(live.asked) == 1


async def test_a_job_whose_pods_are_gone_is_run_again() -> None:
    cache, job = await begun()
    cache.put(JOB, finished(job, succeeded=1))
    decided = await build_plan(cache, Live())
    assert [d.name for d in decided.deletes] == [job["metadata"]["name"]]
    assert reasons(decided) == ["RetryingAttempt"]


async def test_a_job_that_runs_or_has_told_is_not_looked_up() -> None:
    cache, job = await begun()
    live = Live()
    cache.put(JOB, {**finished(job), "status": {"active": 1}})
    cache.put(POD, pod(job, "Running"))
    assert reasons(await build_plan(cache, live)) == ["BuildRunning"]
    cache.put(POD, pod(job, "Succeeded", published(), version="2"))
    again = finished(job, succeeded=1)
    again["metadata"]["resourceVersion"] = "9"
    cache.put(JOB, again)
    assert [m["metadata"]["name"] for m in (await build_plan(cache, live)).creates] == [NAME]
    assert live.asked == []


async def test_the_last_of_several_failures_is_looked_up() -> None:
    cache, job = await begun()
    cache.put(JOB, finished(job, "Failed", failed=2))
    first = pod(job, "Failed")
    last = pod(job, "Failed")
    last["metadata"] |= {"name": "z", "uid": "z", "creationTimestamp": "2027-01-01T00:00:00Z"}
    last["status"]["message"] = "the last"
    cache.put(POD, first)
    decided = await build_plan(cache, Live(first, last))
    assert decided.status is not None
    assert "the last" in decided.status["targets"][0]["message"]


async def test_what_is_recorded_is_not_looked_up() -> None:
    cache, job = await begun()
    cache.put(JOB, finished(job, succeeded=1))
    labels = {names.REQUEST_KEY: job["metadata"]["labels"][names.REQUEST_KEY], names.BUILD: "b"}
    cache.put(ENGINE, made(NAME, labels, spec=engine_spec(KEY)))
    build = cache.get(ENGINE_BUILD, "ns", "b")
    assert build is not None
    build["status"]["targets"][0]["engineRef"] = {"name": NAME}
    live = Live()
    assert reasons(await build_plan(cache, live)) == ["EnginePublished"]
    assert live.asked == []


async def test_an_inspection_that_was_not_watched_is_looked_up() -> None:
    cache = ObjectCache(indexers(TOOLCHAIN))
    cache.put(ENGINE, made(NAME, spec=engine_spec(KEY)))
    live = Live()
    planner = EnginePlanner(cache, looking(cache, live), TOOLCHAIN, Collection(timedelta()))
    key = Key(ENGINE.name, "ns", NAME)
    (job,) = (await planner(key, START)).creates
    assert live.asked == []
    cache.put(JOB, finished(dict(job)))
    live.objects[POD] = [pod(dict(job), "Succeeded", published())]
    decided = await planner(key, START)
    assert decided.status is not None and len(live.asked) == 1
    assert decided.status["conditions"][0]["reason"] == "Verified"


@pytest.mark.parametrize("uid", [NAME, "the one before"])
async def test_an_inspection_is_of_one_engine_and_no_namesake(uid: str) -> None:
    """An engine is imported again, right after it was deleted: its first Job is not gone yet."""
    cache = ObjectCache(indexers(TOOLCHAIN))
    cache.put(ENGINE, made(NAME, spec=engine_spec(KEY)))
    planner = EnginePlanner(cache, looking(cache, Live()), TOOLCHAIN, Collection(timedelta()))
    key = Key(ENGINE.name, "ns", NAME)
    (job,) = (await planner(key, START)).creates
    (owner,) = job["metadata"]["ownerReferences"]
    meta = {**job["metadata"], "ownerReferences": [{**owner, "uid": uid}]}
    inspected = finished({**job, "metadata": meta})
    cache.put(JOB, inspected)
    cache.put(POD, pod(inspected, "Succeeded", published()))
    decided = await planner(key, START)
    assert decided.status is not None
    found = "Verified" if uid == NAME else "Verifying"
    assert decided.status["conditions"][0]["reason"] == found


async def test_an_engine_is_not_deleted_since_a_namesake_was_swept() -> None:
    cache = ObjectCache(indexers(TOOLCHAIN))
    labels = {names.REQUEST_KEY: "k", names.BUILD: "b"}
    gone = Engine.parse(made(NAME, labels, spec=engine_spec(KEY, deletionPolicy="Delete")))
    swept = finished(sweep_job(gone, "builder:1"))
    cache.put(JOB, swept)
    anew = made(NAME, labels, spec=engine_spec(KEY, deletionPolicy="Delete"))
    anew["metadata"]["uid"] = "built anew"
    cache.put(ENGINE, anew)
    cache.put(ENGINE_BUILD, made("b", spec=spec()))
    planner = EnginePlanner(cache, looking(cache, Live()), TOOLCHAIN, Collection(timedelta()))
    decided = await planner(Key(ENGINE.name, "ns", NAME), START)
    assert not decided.deletes and decided.status is not None
    assert decided.status["conditions"][0]["reason"] == "BuiltHere"


async def test_the_pod_of_a_job_that_was_run_anew_does_not_tell_of_the_next() -> None:
    """It went with more memory, say, and its pod not yet; the next one's is not known yet."""
    cache, job = await begun()
    cache.put(JOB, finished(job, "Failed", failed=1))
    before, own = pod(job, "Failed"), pod(job, "Failed")
    for each, uid in ((before, "the one before"), (own, "j")):
        each["metadata"] |= {"name": uid, "uid": uid}
        each["metadata"]["ownerReferences"] = [{"kind": "Job", "uid": uid, "controller": True}]
    before["status"]["message"] = "the one before"
    own["status"]["message"] = "its own end"
    cache.put(POD, before)
    decided = await build_plan(cache, Live(own))
    assert decided.status is not None
    assert "its own end" in decided.status["targets"][0]["message"]


async def test_the_job_of_a_build_that_is_not_known_yet_stays() -> None:
    known, job = await begun()
    build = known.get(ENGINE_BUILD, "ns", "b")
    assert build is not None
    cache = ObjectCache(indexers(TOOLCHAIN))
    running = {**finished(job), "status": {"active": 1}}
    cache.put(JOB, running)
    live = Live(builds=[build])
    decided = await build_plan(cache, live)
    assert not decided.deletes and decided.status is not None
    assert live.asked == [(ENGINE_BUILD, "b")]
    # Nor is it deleted for another build that knows nothing of it.
    cache = ObjectCache(indexers(TOOLCHAIN))
    cache.put(JOB, running)
    live = Live(builds=[build])
    planner = BuildPlanner(cache, looking(cache, live), Silent(), Silent(), TOOLCHAIN)
    assert not (await planner(Key(ENGINE_BUILD.name, "ns", "other"), START)).deletes
    assert live.asked == [(ENGINE_BUILD, "other"), (ENGINE_BUILD, "b")]


@pytest.mark.parametrize(
    ("made_for", "made_at", "stays"),
    [
        ("1", START, False),
        ("2", START, True),
        # For a build that had the same name.
        ("2", START - timedelta(seconds=1), False),
    ],
)
async def test_a_job_made_for_a_newer_spec_than_is_known_stays(
    made_for: str, made_at: datetime, stays: bool
) -> None:
    cache, job = await begun()
    meta = {
        **job["metadata"],
        "name": "build-of-another-spec",
        "annotations": {names.GENERATION: made_for},
        "creationTimestamp": timestamp(made_at),
    }
    cache.put(JOB, {**finished({**job, "metadata": meta}), "status": {"active": 1}})
    decided = await build_plan(cache, Live())
    gone = [] if stays else ["build-of-another-spec"]
    assert [deletion.name for deletion in decided.deletes] == gone


async def test_jobs_whose_builds_are_gone_go_after_one_look() -> None:
    cache, job = await begun()
    build = cache.get(ENGINE_BUILD, "ns", "b")
    assert build is not None
    for number in range(5):
        labels = {**job["metadata"]["labels"], names.BUILD: f"b{number}"}
        meta = {**job["metadata"], "name": f"j{number}", "uid": f"j{number}", "labels": labels}
        cache.put(JOB, finished({**job, "metadata": meta}))
    cache.remove(ENGINE_BUILD, build)
    live = Live()
    decided = await build_plan(cache, live)
    assert [d.name for d in decided.deletes] == [f"j{number}" for number in range(5)]
    assert live.asked == [(ENGINE_BUILD, "b"), (ENGINE_BUILD, "")]


@pytest.mark.parametrize("used", [True, False])
async def test_an_engine_is_deleted_after_a_look_at_who_uses_it(used: bool) -> None:
    cache = ObjectCache(indexers(TOOLCHAIN))
    labels = {names.REQUEST_KEY: "k", names.BUILD: "gone"}
    cache.put(ENGINE, made(NAME, labels, spec=engine_spec(KEY, deletionPolicy="Delete")))
    user = made("d", spec={"engine": {"engineRef": {"name": NAME}}})
    live = Live()
    live.objects[INFERENCE_DEPLOYMENT] = [user] if used else []
    planner = EnginePlanner(cache, looking(cache, live), TOOLCHAIN, Collection(timedelta()))
    decided = await planner(Key(ENGINE.name, "ns", NAME), START)
    assert live.asked == [(ENGINE_BUILD, ""), (INFERENCE_DEPLOYMENT, "")]
    assert bool(decided.creates) is not used and decided.status is not None
    assert [user["name"] for user in decided.status["usedBy"]] == (["d"] if used else [])


@pytest.mark.parametrize("is_known", [True, False])
async def test_what_a_look_finds_before_its_watch_tells_is_reconciled(is_known: bool) -> None:
    """A build is made, or its spec changed, in the moment at which an engine is to be deleted."""
    cache = ObjectCache(indexers(TOOLCHAIN))
    labels = {names.REQUEST_KEY: "k", names.BUILD: "gone"}
    cache.put(ENGINE, made(NAME, labels, spec=engine_spec(KEY, deletionPolicy="Delete")))
    if is_known:
        cache.put(ENGINE_BUILD, made("b", spec=spec(suspend=True)))
    woken: list[Key] = []
    build = made("b", spec=spec())
    build["metadata"] |= {"resourceVersion": "7", "generation": 2}
    look = LiveLook(cache, Live(builds=[build]), woken.append)
    planner = EnginePlanner(cache, look, TOOLCHAIN, Collection(timedelta()))
    await planner(Key(ENGINE.name, "ns", NAME), START)
    feed = Feed(cache, cast(Cluster, None), woken.append, namespaces=(), metrics=Metrics())
    feed.take_in(ENGINE_BUILD, "MODIFIED" if is_known else "ADDED", build)
    assert woken == [Key(ENGINE_BUILD.name, "ns", "b")]
