"""What a target's own Job has come to, and what follows: its engine, another attempt, an end."""

from dataclasses import replace

from nacelle_engine.result import Failure
from nacelle_operator.build import outcome, reasons
from nacelle_operator.build.decision import Decision, Failing, Progressing, Publishing
from nacelle_operator.build.new_job import new_job
from nacelle_operator.build.observed import Manifest
from nacelle_operator.build.pending import pending
from nacelle_operator.build.target_input import TargetInput
from nacelle_operator.objects import names
from nacelle_operator.objects.engine import engine as engine_manifest
from nacelle_operator.objects.job_memory import allowance
from nacelle_operator.objects.quantity import from_bytes
from nacelle_operator.objects.resource_claim_template import (
    claim_template_of,
    resource_claim_template,
)

PROGRESS_SECONDS = 5.0
_NEXT_SECONDS = 3.0
_AT_ONCE = 0.1
# Pods that may end without a result to be seen, before the target is given up.
_LOST_LIMIT = 6


def decide_on_job(target: TargetInput, job: Manifest) -> Decision:
    """The decision that a Job's outcome leads to."""
    pods = target.observed.pods.get(job["metadata"]["name"], ())
    found = outcome.read_outcome(job, pods, target.now)
    match found:
        case outcome.Succeeded(published):
            manifest = engine_manifest(target.build, target.request, published)
            return Publishing(
                manifest["metadata"]["name"],
                reasons.PUBLISHED,
                creates=(manifest,),
                accuracy=published.accuracy,
                stage_seconds=published.stage_seconds,
            )
        case outcome.Failed(failure):
            return _failed(target, job, failure)
        case outcome.HandedOver():
            return new_job(target, target.request.job)
        case outcome.Lost():
            # What was prepared lies in the store, or is found to be missing there.
            prepared = job["metadata"]["name"] == target.request.prepare_job
            return new_job(target, target.request.job) if prepared else _run_again(target, job)
        case outcome.Ending(message):
            return Progressing(reasons.JOB_ENDING, message, requeue=_NEXT_SECONDS)
        case outcome.Running():
            return _running(target, job, found)
        case outcome.Waiting():
            return _with_claim(target, job, pending(target, job, found))


def _with_claim(target: TargetInput, job: Manifest, decided: Decision) -> Decision:
    """A Job's pods wait for the template of their device, which needs the Job to belong to."""
    template, wish = claim_template_of(job), target.request.target.device_claim
    if template is None or wish is None or not isinstance(decided, Progressing):
        return decided
    made = resource_claim_template(job, template, target.request.target, wish)
    return replace(decided, creates=(made,))


def _failed(target: TargetInput, job: Manifest, failure: Failure) -> Decision:
    """More memory for an attempt that lacked it; a Job that failed for an earlier generation of
    the build's spec is tried once more; else the end."""
    if failure.code == reasons.OUT_OF_MEMORY:
        memory = allowance(job)
        if memory.next is not None:
            return _more_memory(target, job, memory.given, memory.next)
        failure = failure.model_copy(
            update={
                "message": f"{failure.message}: it had {from_bytes(memory.given)}, the most that "
                "targets[].maxMemory allows: raise it, or lower spec.limits"
            }
        )
    meta = job["metadata"]
    generation = int(meta.get("annotations", {}).get(names.GENERATION, 0))
    mine = target.creator(job) == target.build.metadata.name
    if not mine or generation >= target.build.metadata.generation:
        return Failing(failure)
    return Progressing(
        reasons.RETRYING,
        "the spec has changed since the Job failed: it is run again",
        deletes=(target.deletion(job),),
        requeue=_NEXT_SECONDS,
    )


def _more_memory(target: TargetInput, job: Manifest, given: int, more: int) -> Decision:
    """First the memory is remembered, in the status; then the Job goes, and comes with it anew."""
    name = job["metadata"]["name"]
    message = (
        f"an attempt ran out of its {from_bytes(given)} of memory: it is run again with "
        f"{from_bytes(more)}"
    )
    known = target.memory(name) >= more
    goes = known and target.is_mine(job)
    return Progressing(
        reasons.MORE_MEMORY,
        message,
        memory={name: from_bytes(more)},
        deletes=(target.deletion(job),) if goes else (),
        attempts=target.attempts + 1 if goes else 0,
        requeue=_NEXT_SECONDS if known else _AT_ONCE,
    )


def _run_again(target: TargetInput, job: Manifest) -> Decision:
    if target.attempts >= _LOST_LIMIT:
        message = f"{target.attempts} pods ended well and none left a result in its termination "
        return Failing(Failure(code=reasons.RESULT_LOST, message=f"{message}message"))
    return Progressing(
        reasons.RETRYING,
        "the Job's result is lost; it is run again and ends at once when the engine exists",
        deletes=(target.deletion(job),),
        attempts=target.attempts + 1,
        requeue=_NEXT_SECONDS,
    )


def _running(target: TargetInput, job: Manifest, running: outcome.Running) -> Decision:
    creator = target.creator(job)
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
