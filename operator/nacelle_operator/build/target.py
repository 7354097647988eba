"""One target: an ordered list of checks, of which the first that answers decides.

The order is the specification: what is published stays, what has failed for good stays so until
the spec changes, and only then does a Job come in.
"""

from collections.abc import Callable

from nacelle_engine.result import Accuracy, Failure
from nacelle_operator.api.engine import Engine
from nacelle_operator.build import reasons
from nacelle_operator.build.bounds import broken_bounds
from nacelle_operator.build.decision import Decision, Failing, Progressing, Publishing
from nacelle_operator.build.own_job import decide_on_job
from nacelle_operator.build.target_input import TargetInput
from nacelle_operator.conditions import READY, STALLED, find, is_true
from nacelle_operator.kinds import JOB
from nacelle_operator.objects import names
from nacelle_operator.objects.build_job import build_job
from nacelle_operator.objects.job_pod import store_claim
from nacelle_operator.plan import Patch

_FINISHED = ("Complete", "Failed")


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
    return None if job is None else decide_on_job(target, job)


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
    image, memory = target.toolchain.builder_image, target.memory(target.request.job)
    return Progressing(
        reasons.JOB_CREATED,
        f"Job {target.request.job} is created",
        creates=(build_job(target.build, target.request, image, memory),),
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
