"""Whether a HorizontalPodAutoscaler is made, and what is told of one: ordered lists of checks.

Replicas have one writer: with spec.autoscaling the autoscaler writes spec.replicas through /scale,
and the operator, as ever, only reads it.
"""

from collections.abc import Callable

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.conditions import Verdict
from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.autoscaler import (
    Case,
    autoscaler_case,
    cpu_request_is_missing,
    is_awaited,
    metric_is_unfit,
    name_is_taken,
    nothing_to_measure,
    rival_is_there,
    verdict_of,
    words,
    works,
)
from nacelle_operator.deployment.decision import Decision, let_go, written
from nacelle_operator.deployment.finding import Finding, first_finding
from nacelle_operator.deployment.observe import Observed
from nacelle_operator.deployment.rollout import Rollout
from nacelle_operator.kinds import HORIZONTAL_POD_AUTOSCALER
from nacelle_operator.objects.horizontal_pod_autoscaler import horizontal_pod_autoscaler

_ADAPTERS = {
    "FailedGetContainerResourceMetric": "the cluster's metrics-server gives CPU",
    "FailedGetPodsMetric": "an adapter for custom.metrics.k8s.io gives metrics of pods",
}


def decide_autoscaling(
    resource: InferenceDeployment, observed: Observed, rollout: Rollout
) -> Decision:
    """The autoscaler as it is wanted; one that is refused is left as it was."""
    case = autoscaler_case(resource, observed, rollout, HORIZONTAL_POD_AUTOSCALER)
    if case is None:
        return let_go(resource, observed.autoscaler)
    refusal = first_finding(REFUSALS, case)
    finding = refusal or first_finding(TOLD, case)
    verdict = verdict_of(finding) if finding else _active(case)
    if refusal or case.engine is None:
        return Decision(verdict=verdict)
    made = horizontal_pod_autoscaler(resource, case.wish, case.engine.spec.architecture)
    return written(made, case.present, verdict)


def nothing_to_scale(case: Case) -> Finding | None:
    """No engine is served yet, or nobody has made the autoscaler, or looked at it."""
    return is_awaited(case, "AbleToScale", "ScalingActive")


def scaling_is_paused(case: Case) -> Finding | None:
    """Replicas of zero turn an autoscaler off."""
    if case.resource.spec.replicas:
        return None
    return Finding(
        reasons.AUTOSCALER_PAUSED,
        f"{case.name} rests while spec.replicas is 0: scale to 1 or more and it goes on",
    )


def scale_is_refused(case: Case) -> Finding | None:
    """The autoscaler cannot read or write the replicas."""
    return _failing(case, "AbleToScale")


def metrics_are_unavailable(case: Case) -> Finding | None:
    """A metric cannot be read; that is so until a first pod answers."""
    seen = case.condition("ScalingActive")
    if seen.get("status") != "False" or not str(seen.get("reason")).startswith("FailedGet"):
        return None
    hint = _ADAPTERS.get(seen["reason"])
    said = f"{case.name}: {words(seen)}" + (f" ({hint})" if hint else "")
    return nothing_to_measure(case) or Finding(reasons.METRICS_UNAVAILABLE, said)


def scaling_is_inactive(case: Case) -> Finding | None:
    """The autoscaler does nothing for another reason, such as a second one over the same pods."""
    return _failing(case, "ScalingActive")


REFUSALS: tuple[Callable[[Case], Finding | None], ...] = (
    name_is_taken,
    rival_is_there,
    metric_is_unfit,
    cpu_request_is_missing,
)
"""Before an autoscaler is made or changed."""

TOLD: tuple[Callable[[Case], Finding | None], ...] = (
    nothing_to_scale,
    scaling_is_paused,
    scale_is_refused,
    metrics_are_unavailable,
    scaling_is_inactive,
)
"""Of an autoscaler that is as it is wanted."""


def _failing(case: Case, type_: str) -> Finding | None:
    seen = case.condition(type_)
    if seen.get("status") != "False":
        return None
    return Finding(reasons.AUTOSCALER_FAILING, f"{case.name}: {words(seen)}")


def _active(case: Case) -> Verdict:
    limited = case.condition("ScalingLimited")
    wants_more = limited.get("status") == "True" and limited.get("reason") == "TooManyReplicas"
    return works(case, is_limited=wants_more)
