"""Has the revision that is aimed at failed? And what would help one that waits for room."""

from collections.abc import Sequence

from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.course import Case
from nacelle_operator.deployment.finding import Finding
from nacelle_operator.deployment.metric_checks import metrics_fail
from nacelle_operator.deployment.pod_checks import pod_finding
from nacelle_operator.objects.controller_revision import Revision
from nacelle_operator.objects.names import REVISION
from nacelle_operator.plan import KubernetesObject

Pods = Sequence[KubernetesObject]


def revision_pods(pods: Pods, revision: Revision) -> list[KubernetesObject]:
    """The pods that run this revision."""
    number = str(revision.number)
    return [pod for pod in pods if pod["metadata"].get("labels", {}).get(REVISION) == number]


def failure(case: Case, pods: Pods) -> Finding | None:
    """Why the aim cannot become what serves; while rollouts are paused nothing fails."""
    if case.is_paused or not case.wanted:
        return None
    found = waiting_pods(case, pods)
    if found and found.stalled:
        return found
    measured = metrics_fail(case)
    if measured:
        return measured
    state = case.states.get(case.aim.slot)
    if state is None or state.revision.number != case.aim.number or not state.is_stuck:
        return None
    seconds = case.resource.spec.rollout.progress_deadline_seconds
    said = f"no progress within {seconds} s" + (f": {found.message}" if found else "")
    return Finding(reasons.ROLLOUT_STUCK, said, stalled=True)


def waiting_pods(case: Case, pods: Pods) -> Finding | None:
    """What keeps the aim's pods from answering, with the way through when there is no room."""
    found = pod_finding(revision_pods(pods, case.aim))
    beside = case.stable is not None and case.stable.number != case.aim.number
    if found is None or found.reason != reasons.NO_MATCHING_NODE or not beside:
        return found
    hint = _hint(case)
    return Finding(found.reason, f"{found.message}; {hint}", found.stalled) if hint else found


def _hint(case: Case) -> str:
    rollout = case.resource.spec.rollout
    if rollout.strategy == "BlueGreen":
        return (
            "BlueGreen needs room for all replicas again: add nodes, or use strategy RollingUpdate "
            "with maxUnavailable 1"
        )
    if rollout.strategy == "Canary" and rollout.canary and rollout.canary.route:
        return (
            "Canary with a route keeps all old pods: add nodes, or leave the route out and set "
            "spec.rollout.maxUnavailable to 1"
        )
    if rollout.max_unavailable == 0:
        return (
            "if there is no room beside the old pods, set spec.rollout.maxUnavailable to 1: one "
            "of them then makes room"
        )
    return ""
