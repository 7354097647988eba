"""What is decided on before an autoscaler of either kind is made, and what stands against it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nacelle_operator.api.autoscaling import Autoscaling
from nacelle_operator.api.engine import Engine
from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.conditions import AUTOSCALING, Verdict
from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.finding import Finding
from nacelle_operator.deployment.observe import Observed
from nacelle_operator.deployment.pod_checks import ready_pods
from nacelle_operator.deployment.rollout import Rollout
from nacelle_operator.kinds import HORIZONTAL_POD_AUTOSCALER, SCALED_OBJECT, Kind
from nacelle_operator.objects.horizontal_pod_autoscaler import metrics
from nacelle_operator.objects.owner import is_controlled_by
from nacelle_operator.plan import KubernetesObject

_CPU = "cpu"
_PROVIDERS = {HORIZONTAL_POD_AUTOSCALER: "HPA", SCALED_OBJECT: "KEDA"}


@dataclass(frozen=True)
class Case:
    """What is decided on: the wish, the live engine, the autoscaler of that name, the pods.

    `is_known`: whether the cluster has the autoscaler's kind. `rival`: one of the other kind, if
    it is there.
    """

    resource: InferenceDeployment
    wish: Autoscaling
    engine: Engine | None
    present: KubernetesObject | None
    answering: int = 0
    kind: Kind = HORIZONTAL_POD_AUTOSCALER
    is_known: bool = True
    rival: KubernetesObject | None = None
    activator_image: str = ""

    @property
    def name(self) -> str:
        """The autoscaler, as messages name it."""
        return f"{self.kind.name} {self.resource.metadata.name}"

    def condition(self, type_: str) -> Mapping[str, Any]:
        """What the present autoscaler says of itself; empty when it says nothing."""
        conditions = ((self.present or {}).get("status") or {}).get("conditions") or ()
        return next((c for c in conditions if c["type"] == type_), {})


def autoscaler_of(observed: Observed, kind: Kind) -> KubernetesObject | None:
    """The autoscaler of a kind that bears the resource's name."""
    if kind == HORIZONTAL_POD_AUTOSCALER:
        return observed.autoscaler
    return observed.seen(kind).found


def autoscaler_case(
    resource: InferenceDeployment, observed: Observed, rollout: Rollout, kind: Kind
) -> Case | None:
    """What is decided on for an autoscaler of that kind; None when none is asked for."""
    wish = resource.spec.autoscaling
    if wish is None or wish.provider != _PROVIDERS[kind]:
        return None
    (other,) = _PROVIDERS.keys() - {kind}
    return Case(
        resource=resource,
        wish=wish,
        engine=observed.engines.get(rollout.revision.engine) if rollout.revision else None,
        present=autoscaler_of(observed, kind),
        answering=len(ready_pods(observed.pods)),
        kind=kind,
        is_known=observed.seen(kind).is_known,
        rival=autoscaler_of(observed, other),
        activator_image=observed.activator_image,
    )


def name_is_taken(case: Case) -> Finding | None:
    """An autoscaler of that name is somebody else's."""
    if case.present is None or is_controlled_by(case.resource, case.present):
        return None
    return Finding(
        reasons.AUTOSCALER_NAME_TAKEN,
        f"{case.name} is not this resource's: delete it, or take spec.autoscaling away",
        stalled=True,
    )


def rival_is_there(case: Case) -> Finding | None:
    """The autoscaler of the provider before has not gone yet: two would fight over replicas."""
    if case.rival is None or not is_controlled_by(case.resource, case.rival):
        return None
    said = f"{case.name} is made as soon as {case.rival['kind']} {case.rival['metadata']['name']}"
    return Finding(reasons.AUTOSCALER_PENDING, f"{said} is gone")


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


def is_awaited(case: Case, *told: str) -> Finding | None:
    """No engine is served yet, or nobody has made the autoscaler, or looked at it: none of the
    conditions `told` is there.
    """
    if case.engine is None and case.present is None:
        said = "is made as soon as there is an engine to serve"
    elif case.present is None:
        said = "is being made"
    elif not any(case.condition(type_) for type_ in told):
        said = "waits for the cluster's controller"
    else:
        return None
    return Finding(reasons.AUTOSCALER_PENDING, f"{case.name} {said}")


def nothing_to_measure(case: Case) -> Finding | None:
    """No pod answers, so there are no metrics."""
    if case.answering:
        return None
    said = f"{case.name} waits for a pod that answers: there is nothing to measure yet"
    return Finding(reasons.AUTOSCALER_PENDING, said)


def words(seen: Mapping[str, Any]) -> str:
    """The autoscaler's own reason and message."""
    return f"{seen.get('reason', '')}: {seen.get('message', '')}"


def verdict_of(finding: Finding) -> Verdict:
    """What the condition Autoscaling says of a finding."""
    pending = finding.reason == reasons.AUTOSCALER_PENDING
    return Verdict(AUTOSCALING, "Unknown" if pending else "False", finding.reason, finding.message)


def works(case: Case, *, is_limited: bool = False) -> Verdict:
    """The autoscaler works; whether it would add pods if it might."""
    least, most = case.wish.min_replicas, case.wish.max_replicas
    if is_limited:
        said = f"{case.name} wants more than spec.autoscaling.maxReplicas, {most}: raise it"
        return Verdict(AUTOSCALING, "True", reasons.SCALING_LIMITED, said)
    said = f"{case.name} keeps {least} to {most} replicas"
    return Verdict(AUTOSCALING, "True", reasons.AUTOSCALER_ACTIVE, said)


def _asks_for_cpu(case: Case) -> bool:
    assert case.engine is not None, "metrics depend on the engine"
    return any(m.type == "CPU" for m in metrics(case.wish, case.engine.spec.architecture))
