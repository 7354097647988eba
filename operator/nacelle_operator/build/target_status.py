"""The status of one target: what was decided, beside what is remembered of it."""

from dataclasses import dataclass
from datetime import datetime

from nacelle_operator.api.engine_build import EngineBuild
from nacelle_operator.api.engine_build_status import EngineRef, StageTiming, TargetStatus
from nacelle_operator.build import reasons
from nacelle_operator.build.decision import Decision, Failing, Progressing, Publishing
from nacelle_operator.build.observed import Observed
from nacelle_operator.build.request import TargetRequest
from nacelle_operator.conditions import READY, RECONCILING, STALLED, Verdict, carry


@dataclass(frozen=True)
class DecidedTarget:
    """One target, what it asks for, and what was decided."""

    request: TargetRequest
    previous: TargetStatus | None
    decision: Decision


def target_status(
    build: EngineBuild, decided: DecidedTarget, observed: Observed, now: datetime
) -> TargetStatus:
    """The status to write for one target."""
    request, previous, decision = decided.request, decided.previous, decided.decision
    pods = [pod for job in request.jobs for pod in observed.pods.get(job, ())]
    jobs = [job for job in request.jobs if job in observed.jobs or job in _created(decision)]
    counted = decision.attempts if isinstance(decision, Progressing) else 0
    raised = decision.memory if isinstance(decision, Progressing) else {}
    base = TargetStatus(
        name=request.target.name,
        architecture=request.target.architecture,
        request_key=request.key,
        attempts=max(previous.attempts if previous else 0, len(pods), counted),
        memory={**(previous.memory if previous else {}), **raised},
        jobs=tuple(jobs),
        conditions=carry(
            previous.conditions if previous else (),
            _target_verdicts(decision),
            generation=build.metadata.generation,
            now=now,
        ),
    )
    return base.model_copy(update=_details(decision, previous, handed_over=len(jobs) > 1))


def _created(decision: Decision) -> set[str]:
    created = decision.creates if isinstance(decision, Progressing) else ()
    return {manifest["metadata"]["name"] for manifest in created}


def _details(
    decision: Decision, previous: TargetStatus | None, *, handed_over: bool
) -> dict[str, object]:
    if isinstance(decision, Publishing):
        timings = tuple(
            StageTiming(stage=stage, seconds=seconds)
            for stage, seconds in decision.stage_seconds.items()
        )
        return {
            "engine_ref": EngineRef(name=decision.engine),
            "percent": 100,
            "message": f"{decision.engine} is published",
            "accuracy": decision.accuracy or (previous.accuracy if previous else None),
            "timings": timings or (previous.timings if previous else ()),
        }
    if isinstance(decision, Failing):
        failure = decision.failure
        stage = failure.stage or (previous.stage if previous else "")
        percent = previous.percent if previous else 0
        return {"stage": stage, "percent": percent, "message": failure.message}
    # A pod that has just started or ended, or a log that gave nothing new, takes no progress back.
    running = decision.reason in (reasons.RUNNING, reasons.JOINED, reasons.JOB_ENDING)
    kept = previous if (running or handed_over) and previous and not decision.stage else None
    return {
        "stage": kept.stage if kept else decision.stage,
        "percent": kept.percent if kept else decision.percent,
        "message": kept.message if running and kept and kept.stage else decision.message,
        "node": decision.node,
    }


def _target_verdicts(decision: Decision) -> list[Verdict]:
    if isinstance(decision, Publishing):
        return [Verdict(READY, "True", decision.reason, f"{decision.engine} is published")]
    if isinstance(decision, Failing):
        failure = decision.failure
        return [
            Verdict(READY, "False", failure.code, failure.message),
            Verdict(STALLED, "True", failure.code, failure.message),
        ]
    verdicts = [Verdict(READY, "False", decision.reason, decision.message)]
    if decision.reason != reasons.SUSPENDED:
        verdicts.append(Verdict(RECONCILING, "True", decision.reason, decision.message))
    return verdicts
