"""Whether a PodMonitor is made, and what is told of it: an ordered list of checks."""

from collections.abc import Callable
from dataclasses import dataclass

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.conditions import MONITORING, Verdict
from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.decision import Decision, let_go, written
from nacelle_operator.deployment.finding import Finding, first_finding
from nacelle_operator.deployment.observe import Observed
from nacelle_operator.kinds import POD_MONITOR
from nacelle_operator.objects.owner import is_controlled_by
from nacelle_operator.objects.pod_monitor import pod_monitor
from nacelle_operator.plan import KubernetesObject


@dataclass(frozen=True)
class Case:
    """The wish, whether the cluster knows the kind, what bears the name, and whether there is
    anything to serve.
    """

    resource: InferenceDeployment
    is_known: bool
    present: KubernetesObject | None
    is_serving: bool

    @property
    def name(self) -> str:
        """The PodMonitor, as messages name it."""
        return f"{POD_MONITOR.name} {self.resource.metadata.name}"


def decide_monitoring(
    resource: InferenceDeployment, observed: Observed, *, is_serving: bool
) -> Decision:
    """The PodMonitor as it is wanted; nobody else's is touched."""
    wish, (is_known, present) = resource.spec.monitoring.pod_monitor, observed.seen(POD_MONITOR)
    if wish is None:
        return let_go(resource, present)
    case = Case(resource, is_known, present, is_serving)
    refusal = first_finding(REFUSALS, case)
    if refusal:
        verdict = Verdict(MONITORING, "False", refusal.reason, refusal.message)
        return Decision(verdict=verdict)
    if not is_serving:
        return Decision(verdict=_verdict(case))
    # Labels come with the apply that follows: what is created with them keeps them for ever.
    made = pod_monitor(resource, wish.labels if present else {})
    return written(made, present, _verdict(case))


def kind_is_unknown(case: Case) -> Finding | None:
    """The cluster has no PodMonitor."""
    if case.is_known:
        return None
    return Finding(
        reasons.POD_MONITOR_UNAVAILABLE,
        "the cluster does not know monitoring.coreos.com/v1 PodMonitor: install the Prometheus "
        "Operator, or take spec.monitoring.podMonitor away",
    )


def name_is_taken(case: Case) -> Finding | None:
    """A PodMonitor of that name is somebody else's."""
    if case.present is None or is_controlled_by(case.resource, case.present):
        return None
    return Finding(
        reasons.POD_MONITOR_NAME_TAKEN,
        f"{case.name} is not this resource's: delete it, or take spec.monitoring.podMonitor away",
    )


REFUSALS: tuple[Callable[[Case], Finding | None], ...] = (kind_is_unknown, name_is_taken)
"""Before a PodMonitor is made or changed."""


def _verdict(case: Case) -> Verdict:
    if case.present is None:
        when = "being made" if case.is_serving else "made as soon as there is an engine to serve"
        return Verdict(MONITORING, "Unknown", reasons.POD_MONITOR_PENDING, f"{case.name} is {when}")
    said = f"{case.name} is in place, for a Prometheus whose podMonitorSelector takes its labels"
    return Verdict(MONITORING, "True", reasons.POD_MONITOR_IN_PLACE, said)
