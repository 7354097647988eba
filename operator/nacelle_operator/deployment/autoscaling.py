"""Whether an autoscaler is made, and what is told of one: ordered lists of checks.

Replicas have one writer: with spec.autoscaling the autoscaler writes spec.replicas through /scale,
and the operator, as ever, only reads it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nacelle_operator.api.autoscaling import Autoscaling
from nacelle_operator.api.engine import Engine
from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.conditions import AUTOSCALING, Verdict
from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.decision import Decision, let_go, written
from nacelle_operator.deployment.finding import Finding, first_finding
from nacelle_operator.deployment.observe import Observed
from nacelle_operator.deployment.pod_checks import ready_pods
from nacelle_operator.deployment.rollout import Rollout
from nacelle_operator.kinds import HORIZONTAL_POD_AUTOSCALER
from nacelle_operator.objects.horizontal_pod_autoscaler import horizontal_pod_autoscaler, metrics
from nacelle_operator.objects.owner import is_controlled_by
from nacelle_operator.plan import KubernetesObject

_KIND = HORIZONTAL_POD_AUTOSCALER.name
_CPU = "cpu"
_ADAPTERS = {
    "FailedGetContainerResourceMetric": "the cluster's metrics-server gives CPU",
    "FailedGetPodsMetric": "an adapter for custom.metrics.k8s.io gives metrics of pods",
}


@dataclass(frozen=True)
class Case:
    """What is decided on: the wish, the live engine, the autoscaler of that name, the pods."""

    resource: InferenceDeployment
    wish: Autoscaling
    engine: Engine | None
    present: KubernetesObject | None
    answering: int = 0

    @property
    def name(self) -> str:
        """The autoscaler, as messages name it."""
        return f"{_KIND} {self.resource.metadata.name}"

    def condition(self, type_: str) -> Mapping[str, Any]:
        """What the present autoscaler says of itself; empty when it says nothing."""
        conditions = ((self.present or {}).get("status") or {}).get("conditions") or ()
        return next((c for c in conditions if c["type"] == type_), {})


def decide_autoscaling(
    resource: InferenceDeployment, observed: Observed, rollout: Rollout
) -> Decision:
    """The autoscaler as it is wanted; one that is refused is left as it was."""
    wish, present = resource.spec.autoscaling, observed.autoscaler
    if wish is None:
        return let_go(resource, present)
    case = Case(
        resource=resource,
        wish=wish,
        engine=observed.engines.get(rollout.revision.engine) if rollout.revision else None,
        present=present,
        answering=len(ready_pods(observed.pods)),
    )
    refusal = first_finding(REFUSALS, case)
    finding = refusal or first_finding(TOLD, case)
    verdict = _verdict(finding) if finding else _active(case)
    if refusal or case.engine is None:
        return Decision(verdict=verdict)
    made = horizontal_pod_autoscaler(resource, wish, case.engine.spec.architecture)
    return written(made, present, verdict)


def name_is_taken(case: Case) -> Finding | None:
    """An autoscaler of that name is somebody else's."""
    if case.present is None or is_controlled_by(case.resource, case.present):
        return None
    return Finding(
        reasons.AUTOSCALER_NAME_TAKEN,
        f"{case.name} is not this resource's: delete it, or take spec.autoscaling away",
        stalled=True,
    )


def metric_is_unfit(case: Case) -> Finding | None:
    """The CPU of pods whose work is done by a GPU is asked for."""
    if case.engine is None or case.engine.spec.architecture.is_cpu or not _asks_for_cpu(case):
        return None
    return Finding(
        reasons.METRIC_UNFIT,
        f"spec.autoscaling.metrics: CPU tells nothing of Engine {case.engine.metadata.name} on "
        f"{case.engine.spec.architecture}: use QueuedRequests and KVUtilization",
        stalled=True,
    )


def cpu_request_is_missing(case: Case) -> Finding | None:
    """The CPU's use would be a share of the request that pods have by default, which says nothing
    of what they use.
    """
    resources = case.resource.spec.pod.resources
    if case.engine is None or not _asks_for_cpu(case):
        return None
    # A limit without a request is the request, too.
    if resources and (_CPU in resources.requests or _CPU in resources.limits):
        return None
    return Finding(
        reasons.CPU_REQUEST_MISSING,
        "spec.autoscaling.metrics: CPU is a share of spec.pod.resources.requests.cpu, which is "
        "not set: set it to the CPUs that a busy pod uses",
        stalled=True,
    )


def nothing_to_scale(case: Case) -> Finding | None:
    """No engine is served yet, or nobody has made the autoscaler, or looked at it."""
    if case.engine is None and case.present is None:
        said = "is made as soon as there is an engine to serve"
    elif case.present is None:
        said = "is being made"
    elif not (case.condition("AbleToScale") or case.condition("ScalingActive")):
        said = "waits for the cluster's controller"
    else:
        return None
    return Finding(reasons.AUTOSCALER_PENDING, f"{case.name} {said}")


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
    if not case.answering:
        said = f"{case.name} waits for a pod that answers: there is nothing to measure yet"
        return Finding(reasons.AUTOSCALER_PENDING, said)
    hint = _ADAPTERS.get(seen["reason"])
    said = f"{case.name}: {_words(seen)}" + (f" ({hint})" if hint else "")
    return Finding(reasons.METRICS_UNAVAILABLE, said)


def scaling_is_inactive(case: Case) -> Finding | None:
    """The autoscaler does nothing for another reason, such as a second one over the same pods."""
    return _failing(case, "ScalingActive")


REFUSALS: tuple[Callable[[Case], Finding | None], ...] = (
    name_is_taken,
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


def _asks_for_cpu(case: Case) -> bool:
    assert case.engine is not None, "metrics depend on the engine"
    return any(m.type == "CPU" for m in metrics(case.wish, case.engine.spec.architecture))


def _failing(case: Case, type_: str) -> Finding | None:
    seen = case.condition(type_)
    if seen.get("status") != "False":
        return None
    return Finding(reasons.AUTOSCALER_FAILING, f"{case.name}: {_words(seen)}")


def _words(seen: Mapping[str, Any]) -> str:
    """The autoscaler's own reason and message."""
    return f"{seen.get('reason', '')}: {seen.get('message', '')}"


def _verdict(finding: Finding) -> Verdict:
    pending = finding.reason == reasons.AUTOSCALER_PENDING
    return Verdict(AUTOSCALING, "Unknown" if pending else "False", finding.reason, finding.message)


def _active(case: Case) -> Verdict:
    """It works; whether it would add pods if it might."""
    limited = case.condition("ScalingLimited")
    least, most = case.wish.min_replicas, case.wish.max_replicas
    if limited.get("status") == "True" and limited.get("reason") == "TooManyReplicas":
        said = f"{case.name} wants more than spec.autoscaling.maxReplicas, {most}: raise it"
        return Verdict(AUTOSCALING, "True", reasons.SCALING_LIMITED, said)
    said = f"{case.name} keeps {least} to {most} replicas"
    return Verdict(AUTOSCALING, "True", reasons.AUTOSCALER_ACTIVE, said)
