"""Whether a ScaledObject of KEDA is made, and what is told of one: ordered lists of checks.

As with our own autoscaler, KEDA alone writes spec.replicas, through /scale.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from nacelle_operator.api.inference_deployment import InferenceDeployment
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
from nacelle_operator.kinds import SCALED_OBJECT
from nacelle_operator.objects.scaled_object import scaled_object

# KEDA's reasons for triggers that it cannot read, and those of its HPA.
_UNREAD: Final = ("TriggerError", "PartialTriggerError", "FailedGet")
_HINT: Final = (
    "see that spec.autoscaling.prometheus.serverAddress answers and knows the pods' series, with "
    "the labels namespace and pod"
)


def decide_scaled_object(
    resource: InferenceDeployment, observed: Observed, rollout: Rollout
) -> Decision:
    """The ScaledObject as it is wanted; one that is refused is left as it was."""
    case = autoscaler_case(resource, observed, rollout, SCALED_OBJECT)
    if case is None:
        return let_go(resource, observed.seen(SCALED_OBJECT).found)
    refusal = first_finding(REFUSALS, case)
    finding = refusal or first_finding(TOLD, case)
    verdict = verdict_of(finding) if finding else works(case)
    if refusal or case.engine is None:
        return Decision(verdict=verdict)
    made = scaled_object(resource, case.wish, case.engine.spec.architecture)
    return written(made, case.present, verdict)


def kind_is_unknown(case: Case) -> Finding | None:
    """The cluster has no ScaledObject."""
    if case.is_known:
        return None
    return Finding(
        reasons.AUTOSCALER_UNAVAILABLE,
        "the cluster does not know keda.sh/v1alpha1 ScaledObject: install KEDA, or set "
        "spec.autoscaling.provider to HPA",
    )


def nothing_to_scale(case: Case) -> Finding | None:
    """No engine is served yet, or nobody has made the ScaledObject, or looked at it."""
    return is_awaited(case, "Ready")


def scaling_is_paused(case: Case) -> Finding | None:
    """Somebody has told KEDA to rest, by an annotation of the ScaledObject."""
    seen = case.condition("Paused")
    if seen.get("status") != "True":
        return None
    return Finding(
        reasons.AUTOSCALER_PAUSED,
        f"{case.name} rests: take its annotations autoscaling.keda.sh/paused away and it goes on",
    )


def metrics_are_unavailable(case: Case) -> Finding | None:
    """A trigger cannot be read; that is so until a first pod answers."""
    unread = next((c for c in _failing(case) if _is_unread(c)), None)
    if unread is None:
        return None
    said = f"{case.name}: {words(unread)} ({_HINT})"
    return nothing_to_measure(case) or Finding(reasons.METRICS_UNAVAILABLE, said)


def keda_fails(case: Case) -> Finding | None:
    """KEDA cannot work for another reason, such as a second autoscaler over the same pods."""
    seen = next(_failing(case), None)
    if seen is None:
        return None
    return Finding(reasons.AUTOSCALER_FAILING, f"{case.name}: {words(seen)}")


def activator_image_is_missing(case: Case) -> Finding | None:
    """Nobody could answer, and so wake it, while no pod is there."""
    if case.wish.min_replicas or case.activator_image:
        return None
    return Finding(
        reasons.ACTIVATOR_IMAGE_MISSING,
        "spec.autoscaling.minReplicas 0 needs an image of what answers while no pod is there, and "
        "the operator knows none: set NACELLE_ACTIVATOR_IMAGE to its own image, or minReplicas to "
        "1",
        stalled=True,
    )


REFUSALS: tuple[Callable[[Case], Finding | None], ...] = (
    kind_is_unknown,
    name_is_taken,
    rival_is_there,
    activator_image_is_missing,
    metric_is_unfit,
    cpu_request_is_missing,
)
"""Before a ScaledObject is made or changed."""

TOLD: tuple[Callable[[Case], Finding | None], ...] = (
    nothing_to_scale,
    scaling_is_paused,
    metrics_are_unavailable,
    keda_fails,
)
"""Of a ScaledObject that is as it is wanted."""


def _failing(case: Case) -> Iterator[Mapping[str, Any]]:
    """Those of KEDA's conditions that should be true, and are known not to be."""
    for type_ in ("Ready", "HPAActive"):
        seen = case.condition(type_)
        if seen.get("status") == "False" or (seen and _is_unread(seen)):
            yield seen


def _is_unread(seen: Mapping[str, Any]) -> bool:
    return str(seen.get("reason")).startswith(_UNREAD)
