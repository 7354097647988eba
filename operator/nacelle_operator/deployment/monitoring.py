"""Whether a PodMonitor is made, and what is told of it: an ordered list of checks."""

from collections.abc import Callable

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.conditions import MONITORING, Verdict
from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.decision import Decision, let_go, written
from nacelle_operator.deployment.finding import Finding, first_finding
from nacelle_operator.deployment.observe import Observed
from nacelle_operator.deployment.optional import OptionalCase, optional_case
from nacelle_operator.kinds import POD_MONITOR
from nacelle_operator.objects.pod_monitor import pod_monitor


def decide_monitoring(
    resource: InferenceDeployment, observed: Observed, *, is_serving: bool
) -> Decision:
    """The PodMonitor as it is wanted; nobody else's is touched."""
    wish = resource.spec.monitoring.pod_monitor
    case = optional_case(resource, observed, POD_MONITOR, is_serving=is_serving)
    if wish is None:
        return let_go(resource, case.present)
    refusal = first_finding(REFUSALS, case)
    if refusal:
        verdict = Verdict(MONITORING, "False", refusal.reason, refusal.message)
        return Decision(verdict=verdict)
    if not is_serving:
        return Decision(verdict=_verdict(case))
    # Labels come with the apply that follows: what is created with them keeps them for ever.
    made = pod_monitor(resource, wish.labels if case.present else {})
    return written(made, case.present, _verdict(case))


def kind_is_unknown(case: OptionalCase) -> Finding | None:
    """The cluster has no PodMonitor."""
    if case.is_known:
        return None
    return Finding(
        reasons.POD_MONITOR_UNAVAILABLE,
        "the cluster does not know monitoring.coreos.com/v1 PodMonitor: install the Prometheus "
        "Operator, or take spec.monitoring.podMonitor away",
    )


def name_is_taken(case: OptionalCase) -> Finding | None:
    """A PodMonitor of that name is somebody else's."""
    if not case.is_anothers:
        return None
    return Finding(
        reasons.POD_MONITOR_NAME_TAKEN,
        f"{case.name} is not this resource's: delete it, or take spec.monitoring.podMonitor away",
    )


REFUSALS: tuple[Callable[[OptionalCase], Finding | None], ...] = (kind_is_unknown, name_is_taken)
"""Before a PodMonitor is made or changed."""


def _verdict(case: OptionalCase) -> Verdict:
    if case.present is None:
        return Verdict(MONITORING, "Unknown", reasons.POD_MONITOR_PENDING, case.awaited)
    said = f"{case.name} is in place, for a Prometheus whose podMonitorSelector takes its labels"
    return Verdict(MONITORING, "True", reasons.POD_MONITOR_IN_PLACE, said)
