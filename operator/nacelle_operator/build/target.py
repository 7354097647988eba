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
from nacelle_operator.build.new_job import new_job
from nacelle_operator.build.observed import Manifest
from nacelle_operator.build.outcome import is_told
from nacelle_operator.build.own_job import decide_on_job
from nacelle_operator.build.target_input import TargetInput
from nacelle_operator.conditions import READY, STALLED, find, is_true
from nacelle_operator.kinds import JOB
from nacelle_operator.objects import names
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


def silent_job(target: TargetInput) -> Manifest | None:
    """The Job that would decide, had the known ones of its pods told how it ended."""
    for check in CHECKS[: CHECKS.index(_own_job)]:
        if check(target) is not None:
            return None
    job = _newest_job(target)
    told = job is None or is_told(job, target.observed.pods.get(job["metadata"]["name"], ()))
    return None if told else job


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
    job = _newest_job(target)
    return decide_on_job(target, job) if job else None


def _newest_job(target: TargetInput) -> Manifest | None:
    jobs = target.observed.jobs
    return next((jobs[name] for name in reversed(target.request.jobs) if name in jobs), None)


def _same_request_elsewhere(target: TargetInput) -> Decision | None:
    label = names.key_label(target.request.key)
    for name, job in target.observed.jobs.items():
        labels = job["metadata"].get("labels", {})
        same = labels.get(names.REQUEST_KEY) == label
        if same and store_claim(job) == target.request.store_claim and _at_work(target, job):
            return Progressing(
                reasons.JOINED,
                f"Job {name} of build {labels.get(names.BUILD)} makes the same engine "
                "within other bounds; this target goes on when it has ended",
                requeue=30.0,
            )
    return None


def _at_work(target: TargetInput, job: Manifest) -> bool:
    """Whether a Job runs, or has prepared what the next one of its build goes on from."""
    conditions = job.get("status", {}).get("conditions") or ()
    finished = {c["type"] for c in conditions if c["status"] == "True"}.intersection(_FINISHED)
    if not finished:
        return True
    labels = job["metadata"]["labels"]
    if "Failed" in finished or labels.get(names.STEP) != names.PREPARE:
        return False
    build = target.observed.builds.get(labels.get(names.BUILD, ""))
    mine = (t for t in build.status.targets if t.request_key) if build else ()
    return any(
        names.key_label(status.request_key or "") == labels[names.REQUEST_KEY]
        and status.engine_ref is None
        and not is_true(status.conditions, STALLED)
        for status in mine
    )


def _first_job(target: TargetInput) -> Decision | None:
    return new_job(target, target.request.jobs[0])


CHECKS: tuple[Check, ...] = (
    _published_before,
    _failed_before,
    _published_by_another,
    _suspended,
    _own_job,
    _same_request_elsewhere,
    _first_job,
)


def _finished_job_patches(target: TargetInput) -> tuple[Patch, ...]:
    """What Jobs are given once their result is recorded: the end of their life."""
    ttl = target.build.spec.job.ttl_seconds_after_finished
    fields = {"spec": {"ttlSecondsAfterFinished": ttl}}
    return tuple(
        Patch(JOB.api_version, JOB.name, name, fields)
        for name in target.request.jobs
        if name in target.observed.jobs
    )


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
    try:
        return Accuracy.model_validate_json(text) if text else None
    except ValueError:
        return None  # a person's annotation: not ours to judge by
