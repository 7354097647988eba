"""The plan for an Engine: is it ready, who uses it, and is it to be deleted with its build."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from nacelle_engine.result import Accuracy, Failure
from nacelle_operator.api.engine import Engine, EngineStatus, User
from nacelle_operator.build import outcome
from nacelle_operator.conditions import READY, RECONCILING, STALLED, UNUSED, Verdict, carry, find
from nacelle_operator.engines import reasons
from nacelle_operator.engines.collection import Collection
from nacelle_operator.kinds import JOB
from nacelle_operator.objects import names
from nacelle_operator.objects.engine_job import inspect_job, sweep_job
from nacelle_operator.plan import Deletion, Event, KubernetesObject, Patch, Plan

_KEPT_JOB_SECONDS = 600
_RECHECK_SECONDS = 5.0
_MOST_USERS = 256


@dataclass(frozen=True)
class EngineObserved:
    """What an Engine's plan is decided on: its own Jobs, and who else cares for it."""

    users: tuple[User, ...] = ()
    creator_exists: bool = False
    jobs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    pods: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Judgement:
    verdicts: tuple[Verdict, ...]
    creates: tuple[KubernetesObject, ...] = ()
    patches: tuple[Patch, ...] = ()
    deletes: tuple[Deletion, ...] = ()
    events: tuple[Event, ...] = ()
    requeue: float | None = None


def plan(
    engine: Engine, observed: EngineObserved, image: str, collection: Collection, now: datetime
) -> Plan:
    """What to write for an Engine; `image` is the builder's, which inspects and sweeps."""
    if names.sweep_job_name(engine.spec.key) in observed.jobs:
        judged = _swept(engine, observed, image, now)  # half a folder serves nobody any more
    elif is_to_go(engine, observed):
        judged = _unused(engine, observed, image, collection, now)
    elif names.REQUEST_KEY in engine.metadata.labels:
        judged = _Judgement((_built_here(engine),))
    else:
        judged = _inspected(engine, observed, image, now)
    status = EngineStatus(
        observed_generation=engine.metadata.generation,
        conditions=carry(
            engine.status.conditions,
            judged.verdicts,
            generation=engine.metadata.generation,
            now=now,
        ),
        accuracy=_accuracy(engine),
        used_by=observed.users[:_MOST_USERS],
    )
    return Plan(
        creates=judged.creates,
        patches=judged.patches,
        deletes=judged.deletes,
        status=status.plain(),
        requeue_seconds=judged.requeue,
        events=(*judged.events, *_ready_events(engine, judged)),
        uid=engine.metadata.uid,
    )


def silent_job(engine: Engine, observed: EngineObserved) -> Mapping[str, Any] | None:
    """The Job that has inspected the engine, if no pod that is known tells with what result."""
    name = names.inspect_job_name(engine.spec.key)
    job = observed.jobs.get(name)
    if job is None or _is_judged(engine) or outcome.is_told(job, observed.pods.get(name, ())):
        return None
    return job


def _is_judged(engine: Engine) -> bool:
    ready = find(engine.status.conditions, READY)
    judged = ready and ready.observed_generation == engine.metadata.generation
    return bool(ready and judged and ready.reason != reasons.VERIFYING)


def is_to_go(engine: Engine, observed: EngineObserved) -> bool:
    """Made for a build that is gone, by policy to go with it, and used by nobody else."""
    made_here = names.REQUEST_KEY in engine.metadata.labels
    delete = engine.spec.deletion_policy == "Delete"
    return made_here and delete and not observed.creator_exists and not observed.users


def _built_here(engine: Engine) -> Verdict:
    message = f"build {engine.metadata.labels.get(names.BUILD)} published it"
    return Verdict(READY, "True", reasons.BUILT_HERE, message)


def _unused(
    engine: Engine, observed: EngineObserved, image: str, collection: Collection, now: datetime
) -> _Judgement:
    left = collection.left(engine, now).total_seconds()
    if left <= 0 and not collection.is_dry_run:
        return _swept(engine, observed, image, now)
    verdict = collection.verdict()
    before = find(engine.status.conditions, UNUSED)
    is_new = before is None or before.reason != verdict.reason
    events = (Event("Normal", verdict.reason, verdict.message),) if is_new else ()
    requeue = None if collection.is_dry_run else left
    return _Judgement((_built_here(engine), verdict), events=events, requeue=requeue)


def _swept(engine: Engine, observed: EngineObserved, image: str, now: datetime) -> _Judgement:
    name = names.sweep_job_name(engine.spec.key)
    message = f"nobody uses it any more: Job {name} deletes {engine.spec.path} from its store"
    verdicts = (
        Verdict(READY, "False", reasons.SWEEPING, message),
        Verdict(RECONCILING, "True", reasons.SWEEPING, message),
    )
    job = observed.jobs.get(name)
    if job is None:
        return _Judgement(verdicts, creates=(sweep_job(engine, image),))
    gone = Deletion(engine.api_version, engine.kind, engine.metadata.name, engine.metadata.uid)
    conditions = {
        c["type"] for c in job.get("status", {}).get("conditions") or () if c["status"] == "True"
    }
    if "Complete" in conditions:
        event = Event("Normal", reasons.SWEPT, f"{engine.spec.path} is deleted")
        return _Judgement(verdicts, deletes=(gone,), events=(event,))
    if "Failed" in conditions:
        claim = engine.spec.store.persistent_volume_claim.claim_name
        said = f"{engine.spec.path} could not be deleted and stays in claim {claim}"
        event = Event("Warning", reasons.FOLDER_LEFT, said)
        return _Judgement(verdicts, deletes=(gone,), events=(event,))
    return _Judgement(verdicts)


def _inspected(engine: Engine, observed: EngineObserved, image: str, now: datetime) -> _Judgement:
    name = names.inspect_job_name(engine.spec.key)
    if _is_judged(engine):
        return _Judgement(_kept(engine), patches=_end_of_life(name, observed))
    job = observed.jobs.get(name)
    if job is None:
        return _Judgement(
            _verifying(f"Job {name} is created"), creates=(inspect_job(engine, image),)
        )
    match outcome.read_outcome(job, observed.pods.get(name, ()), now):
        case outcome.Succeeded():
            return _Judgement((Verdict(READY, "True", reasons.VERIFIED, "every digest matches"),))
        case outcome.Failed(failure):
            return _Judgement(_refused(failure))
        case outcome.Lost() | outcome.HandedOver():
            lost = Failure(code=reasons.INSPECTION_LOST, message="the Job left no result")
            return _Judgement(_refused(lost))
        case outcome.Waiting(reason, message):
            return _Judgement(_verifying(f"{reason}: {message}"))
        case outcome.Ending(message):
            return _Judgement(_verifying(message), requeue=_RECHECK_SECONDS)
        case outcome.Running():
            return _Judgement(_verifying("the bundle's digests are being computed"))


def _kept(engine: Engine) -> tuple[Verdict, ...]:
    return tuple(Verdict(c.type, c.status, c.reason, c.message) for c in engine.status.conditions)


def _verifying(message: str) -> tuple[Verdict, ...]:
    return (
        Verdict(READY, "False", reasons.VERIFYING, message),
        Verdict(RECONCILING, "True", reasons.VERIFYING, message),
    )


def _refused(failure: Failure) -> tuple[Verdict, ...]:
    return (
        Verdict(READY, "False", failure.code, failure.message),
        Verdict(STALLED, "True", failure.code, failure.message),
    )


def _end_of_life(name: str, observed: EngineObserved) -> tuple[Patch, ...]:
    if name not in observed.jobs:
        return ()
    fields = {"spec": {"ttlSecondsAfterFinished": _KEPT_JOB_SECONDS}}
    return (Patch(JOB.api_version, JOB.name, name, fields),)


def _accuracy(engine: Engine) -> Accuracy | None:
    text = engine.metadata.annotations.get(names.ACCURACY)
    try:
        return Accuracy.model_validate_json(text) if text else engine.status.accuracy
    except ValueError:
        return engine.status.accuracy  # a person's annotation: not ours to judge by


def _ready_events(engine: Engine, judged: _Judgement) -> tuple[Event, ...]:
    before = find(engine.status.conditions, READY)
    after = next(verdict for verdict in judged.verdicts if verdict.type == READY)
    if before and (before.status, before.reason) == (after.status, after.reason):
        return ()
    failed = any(verdict.type == STALLED for verdict in judged.verdicts)
    return (Event("Warning" if failed else "Normal", after.reason, after.message),)
