"""A target whose Job has no pod at work: what it waits for, and until when."""

from collections.abc import Sequence
from datetime import timedelta

from nacelle_engine.result import Failure
from nacelle_operator.api.duration import parse_duration
from nacelle_operator.build import reasons
from nacelle_operator.build.decision import Decision, Failing, Progressing
from nacelle_operator.build.observed import Manifest
from nacelle_operator.build.outcome import Waiting
from nacelle_operator.build.request import claims_of
from nacelle_operator.build.target_input import TargetInput

_CLAIM_SECONDS = 10.0
_LOOK_SECONDS = 300.0


def pending(target: TargetInput, job: Manifest, waiting: Waiting) -> Decision:
    """What is told while a Job waits; past job.schedulingTimeout it is given up."""
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
            requeue=_CLAIM_SECONDS,
        )
    if waiting.since is None:
        return Progressing(waiting.reason, waiting.message, requeue=waiting.requeue)
    limit = parse_duration(target.build.spec.job.scheduling_timeout)
    left = waiting.since + limit - target.now
    if left <= timedelta():
        return _give_up(target, job, waiting)
    message = _node_message(target) if waiting.reason == reasons.NO_MATCHING_NODE else ""
    requeue = min(left.total_seconds(), _LOOK_SECONDS)
    return Progressing(waiting.reason, f"{message}{waiting.message}", requeue=requeue)


def _missing(claims: Sequence[str]) -> str:
    if len(claims) == 1:
        return f"claim {claims[0]} does not exist"
    return f"claims {' and '.join(claims)} do not exist"


def _node_message(target: TargetInput) -> str:
    return f"no node takes a build for {target.request.target.architecture.value} yet: "


def _give_up(target: TargetInput, job: Manifest, waiting: Waiting) -> Decision:
    limit = target.build.spec.job.scheduling_timeout
    message = f"no node took the pod within job.schedulingTimeout {limit}: {waiting.message}"
    failure = Failure(code=reasons.SCHEDULING_TIMEOUT, message=message)
    return Failing(failure, deletes=(target.deletion(job),))
