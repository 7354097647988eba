"""Do the new pods answer as well as asked? An ordered list of checks on their metrics."""

from collections.abc import Callable
from dataclasses import dataclass

from nacelle_operator.api.rollout import Checks
from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.course import Case
from nacelle_operator.deployment.finding import Finding, first_finding
from nacelle_operator.objects.tally import Tally


@dataclass(frozen=True)
class Measured:
    """The bounds, and what the new pods have counted since their step began."""

    bounds: Checks
    tally: Tally


def metrics_fail(case: Case) -> Finding | None:
    """What the first check finds that finds something; none before a step's pods are ready."""
    bounds, kept = case.resource.spec.rollout.checks, case.aim.memory
    if bounds is None or case.tally is None or not kept.reached or not kept.is_measured:
        return None
    return first_finding(CHECKS, Measured(bounds, case.tally.since(Tally(*kept.baseline))))


def metrics_are_unknown(case: Case) -> Finding | None:
    """Metrics are asked for and cannot be read: no step begins or ends without them."""
    if case.resource.spec.rollout.checks is None or case.tally is not None:
        return None
    return Finding(
        reasons.METRICS_UNKNOWN,
        f"revision {case.aim.number} waits for spec.rollout.checks: the operator cannot read "
        "/metrics of its pods; let its pod reach theirs, or take spec.rollout.checks away",
    )


def too_many_errors(measured: Measured) -> Finding | None:
    """More of the requests are refused than may be."""
    most, tally = measured.bounds.max_error_percent, measured.tally
    if most is None or tally.ended < measured.bounds.min_requests:
        return None
    if 100 * tally.refused <= most * tally.ended:
        return None
    return Finding(
        reasons.CHECKS_FAILED,
        f"{tally.refused} of {tally.ended} requests of this step were refused: more than "
        f"spec.rollout.checks.maxErrorPercent, {most}",
        stalled=True,
    )


def too_slow(measured: Measured) -> Finding | None:
    """First tokens come later, on average, than they may."""
    most, tally = measured.bounds.max_time_to_first_token_milliseconds, measured.tally
    if most is None or tally.first_tokens < measured.bounds.min_requests:
        return None
    mean = tally.milliseconds // max(1, tally.first_tokens)
    if mean <= most:
        return None
    return Finding(
        reasons.CHECKS_FAILED,
        f"first tokens took {mean} ms on average over {tally.first_tokens} requests of this step: "
        f"more than spec.rollout.checks.maxTimeToFirstTokenMilliseconds, {most}",
        stalled=True,
    )


CHECKS: tuple[Callable[[Measured], Finding | None], ...] = (too_many_errors, too_slow)
"""Over a step, as long as it lasts."""
