"""One target: an ordered list of checks, of which the first that answers decides.

The order is the specification: what is published stays, what has failed for good stays so until
the spec changes, and only then does a Job come in.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from nacelle_engine.recipe import Toolchain
from nacelle_engine.result import Accuracy, Failure
from nacelle_operator.api.duration import parse_duration
from nacelle_operator.api.engine import Engine
from nacelle_operator.api.engine_build import EngineBuild
from nacelle_operator.api.engine_build_status import TargetStatus
from nacelle_operator.build import outcome, reasons
from nacelle_operator.build.bounds import broken_bounds
from nacelle_operator.build.decision import Decision, Failing, Progressing, Publishing
from nacelle_operator.build.observed import Observed
from nacelle_operator.build.request import TargetRequest, claims_of
from nacelle_operator.conditions import READY, STALLED, find, is_true
from nacelle_operator.kinds import JOB
from nacelle_operator.objects import names
from nacelle_operator.objects.build_job import build_job
from nacelle_operator.objects.engine import engine as engine_manifest
from nacelle_operator.objects.job_pod import store_claim
from nacelle_operator.plan import Deletion, Patch

PROGRESS_SECONDS = 5.0
# Pods that may end without a result to be seen, before the target is given up.
_LOST_LIMIT = 6
_FINISHED = ("Complete", "Failed")


@dataclass(frozen=True)
class TargetInput:
    """All that a target is judged on."""

    build: EngineBuild
    request: TargetRequest
    toolchain: Toolchain
    observed: Observed
    now: datetime

    @property
    def previous(self) -> TargetStatus | None:
        """The target's status so far, if it is about this very request."""
        for status in self.build.status.targets:
            if status.name == self.request.target.name and status.request_key == self.request.key:
                return status
        return None


Check = Callable[[TargetInput], Decision | None]


def decide(target: TargetInput) -> Decision:
    """The first answer of the checks; the last of them always has one."""
    for check in CHECKS:
        decision = check(target)
        if decision is not None:
            return decision
    raise AssertionError("the last check always decides")


def _published_before(target: TargetInput) -> Decision | None:
    previous = target.previous
    if previous is None or previous.engine_ref is None:
        return None
    engine = target.observed.engines.get(previous.engine_ref.name)
    if engine is None:
        return None
    ready = find(previous.conditions, READY)
    reason = ready.reason if ready and ready.status == "True" else reasons.PUBLISHED
    patches = _finished_job_patches(target)
    return _judge_accuracy(
        target, engine, Publishing(engine.metadata.name, reason, patches=patches)
    )


def _failed_before(target: TargetInput) -> Decision | None:
    previous = target.previous
    if previous is None or not is_true(previous.conditions, STALLED):
        return None
    stalled = find(previous.conditions, STALLED)
    if stalled is None or stalled.observed_generation != target.build.metadata.generation:
        return None
    failure = Failure(code=stalled.reason, message=stalled.message, stage=previous.stage)
    return Failing(failure, patches=_finished_job_patches(target))


def _published_by_another(target: TargetInput) -> Decision | None:
    if not target.request.immutable:
        return None
    label = names.key_label(target.request.key)
    for engine in target.observed.engines.values():
        claim = engine.spec.store.persistent_volume_claim.claim_name
        known = engine.metadata.labels.get(names.REQUEST_KEY) == label
        if known and claim == target.request.store_claim:
            found = Publishing(engine.metadata.name, reasons.ALREADY_PUBLISHED)
            return _judge_accuracy(target, engine, found)
    return None


def _suspended(target: TargetInput) -> Decision | None:
    if not target.build.spec.suspend:
        return None
    return Progressing(reasons.SUSPENDED, "suspend is true: nothing is started")


def _own_job(target: TargetInput) -> Decision | None:
    job = target.observed.jobs.get(target.request.job)
    if job is None:
        return None
    pods = target.observed.pods.get(target.request.job, ())
    found = outcome.read_outcome(job, pods, target.now)
    match found:
        case outcome.Succeeded(published):
            manifest = engine_manifest(target.build, target.request, published)
            seconds = published.stage_seconds
            return Publishing(
                manifest["metadata"]["name"],
                reasons.PUBLISHED,
                creates=(manifest,),
                accuracy=published.accuracy,
                stage_seconds=seconds,
            )
        case outcome.Failed(failure):
            return _failed_now(target, failure)
        case outcome.Lost():
            return _run_again(target, job["metadata"]["uid"])
        case outcome.Ending(message):
            return Progressing(reasons.JOB_ENDING, message, requeue=3.0)
        case outcome.Running():
            return _running(target, found)
        case outcome.Waiting():
            return _waiting(target, found)


def _same_request_elsewhere(target: TargetInput) -> Decision | None:
    label = names.key_label(target.request.key)
    for name, job in target.observed.jobs.items():
        labels = job["metadata"].get("labels", {})
        conditions = job.get("status", {}).get("conditions") or ()
        finished = any(c["type"] in _FINISHED and c["status"] == "True" for c in conditions)
        same = labels.get(names.REQUEST_KEY) == label
        if same and not finished and store_claim(job) == target.request.store_claim:
            return Progressing(
                reasons.JOINED,
                f"Job {name} of build {labels.get(names.BUILD)} makes the same engine "
                "within other bounds; this target goes on when it has ended",
                requeue=30.0,
            )
    return None


def _new_job(target: TargetInput) -> Decision | None:
    image = target.toolchain.builder_image
    return Progressing(
        reasons.JOB_CREATED,
        f"Job {target.request.job} is created",
        creates=(build_job(target.build, target.request, image),),
    )


CHECKS: tuple[Check, ...] = (
    _published_before,
    _failed_before,
    _published_by_another,
    _suspended,
    _own_job,
    _same_request_elsewhere,
    _new_job,
)


def _failed_now(target: TargetInput, failure: Failure) -> Decision:
    """A Job that failed for an earlier generation of the build's spec is tried once more."""
    meta = target.observed.jobs[target.request.job]["metadata"]
    mine = meta["labels"].get(names.BUILD) == target.build.metadata.name
    generation = int(meta.get("annotations", {}).get(names.GENERATION, 0))
    if not mine or generation >= target.build.metadata.generation:
        return Failing(failure)
    return Progressing(
        reasons.RETRYING,
        "the spec has changed since the Job failed: it is run again",
        deletes=(_deletion(target, meta["uid"]),),
        requeue=3.0,
    )


def _running(target: TargetInput, running: outcome.Running) -> Decision:
    creator = target.observed.jobs[target.request.job]["metadata"]["labels"].get(names.BUILD)
    progress = target.observed.progress.get(running.uid)
    message = progress.message if progress else "the builder starts"
    reason = reasons.RUNNING
    if creator != target.build.metadata.name:
        reason = reasons.JOINED
        message = f"build {creator} makes the same engine: {message}"
    return Progressing(
        reason,
        message,
        stage=progress.stage if progress else "",
        percent=progress.percent if progress else 0,
        node=running.node,
        requeue=PROGRESS_SECONDS,
    )


def _waiting(target: TargetInput, waiting: outcome.Waiting) -> Decision:
    missing = [
        name
        for name in claims_of(target.build.spec)
        if name in target.observed.claims and not target.observed.claims[name].exists
    ]
    if missing:
        return Progressing(
            reasons.CLAIM_NOT_FOUND,
            f"{_missing(missing)} in namespace {target.build.metadata.namespace}: "
            "create what is missing, and the build goes on",
            requeue=10.0,
        )
    if waiting.since is None:
        return Progressing(waiting.reason, waiting.message)
    limit = parse_duration(target.build.spec.job.scheduling_timeout)
    left = waiting.since + limit - target.now
    if left <= timedelta():
        return _give_up_waiting(target, waiting)
    message = _node_message(target) if waiting.reason == reasons.NO_MATCHING_NODE else ""
    return Progressing(
        waiting.reason, f"{message}{waiting.message}", requeue=min(left.total_seconds(), 300.0)
    )


def _missing(claims: Sequence[str]) -> str:
    if len(claims) == 1:
        return f"claim {claims[0]} does not exist"
    return f"claims {' and '.join(claims)} do not exist"


def _node_message(target: TargetInput) -> str:
    return f"no node takes a build for {target.request.target.architecture.value} yet: "


def _give_up_waiting(target: TargetInput, waiting: outcome.Waiting) -> Decision:
    limit = target.build.spec.job.scheduling_timeout
    message = f"no node took the pod within job.schedulingTimeout {limit}: {waiting.message}"
    failure = Failure(code=reasons.SCHEDULING_TIMEOUT, message=message)
    job = target.observed.jobs[target.request.job]
    return Failing(failure, deletes=(_deletion(target, job["metadata"]["uid"]),))


def _run_again(target: TargetInput, uid: str) -> Decision:
    attempts = target.previous.attempts if target.previous else 0
    if attempts >= _LOST_LIMIT:
        message = f"{attempts} pods ended well and none left a result in its termination message"
        return Failing(Failure(code=reasons.RESULT_LOST, message=message))
    return Progressing(
        reasons.RETRYING,
        "the Job's result is lost; it is run again and ends at once when the engine exists",
        deletes=(_deletion(target, uid),),
        attempts=attempts + 1,
        requeue=3.0,
    )


def _deletion(target: TargetInput, uid: str) -> Deletion:
    return Deletion(JOB.api_version, JOB.name, target.request.job, uid)


def _finished_job_patches(target: TargetInput) -> tuple[Patch, ...]:
    """What a Job is given once its result is recorded: the end of its life."""
    if target.request.job not in target.observed.jobs:
        return ()
    ttl = target.build.spec.job.ttl_seconds_after_finished
    fields = {"spec": {"ttlSecondsAfterFinished": ttl}}
    return (Patch(JOB.api_version, JOB.name, target.request.job, fields),)


def _judge_accuracy(target: TargetInput, engine: Engine, found: Publishing) -> Decision:
    stored = engine.status.accuracy or _annotated_accuracy(engine)
    bounds = target.build.spec.accuracy
    broken = broken_bounds(stored, bounds) if stored else ()
    if not broken or bounds.on_failure == "Publish":
        return found.with_accuracy(stored)
    message = f"{engine.metadata.name} exists, but {'; '.join(broken)}"
    return Failing(Failure(code=reasons.ACCURACY_FAILED, message=message), patches=found.patches)


def _annotated_accuracy(engine: Engine) -> Accuracy | None:
    text = engine.metadata.annotations.get(names.ACCURACY)
    return Accuracy.model_validate_json(text) if text else None
