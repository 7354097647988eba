"""What keeps pods from answering: an ordered list of checks over those that are not ready."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from nacelle_engine.errors import CorruptBundle, MismatchError, OutOfMemory
from nacelle_engine.result import parse_result
from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.finding import Finding, first_finding
from nacelle_operator.deployment.pod_container import Container, containers
from nacelle_operator.objects.names import RUNTIME, TRITON
from nacelle_operator.plan import KubernetesObject

_REFUSALS = frozenset({MismatchError.exit_code, CorruptBundle.exit_code})
_PULL = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_CREATE = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
# One crash can be a node's whim; from the second on it is told.
_CRASHES = 2

_MEMORY = {
    RUNTIME: "raise spec.pod.resources.limits.memory, or build with smaller limits",
    TRITON: "raise spec.frontends.triton.resources.limits.memory",
}

Pods = Sequence[KubernetesObject]
Check = Callable[[Pods], Finding | None]


def pod_finding(pods: Pods) -> Finding | None:
    """What the first check that finds something says of the pods that do not answer."""
    waiting = [pod for pod in pods if not _is_ready(pod) and not _is_going(pod)]
    return first_finding(CHECKS, waiting)


def bundle_is_refused(pods: Pods) -> Finding | None:
    """A runtime ended with the exit code of a bundle that belongs elsewhere or is damaged."""
    for container, end in _ends(pods):
        if end.get("exitCode") in _REFUSALS:
            said = f"{container.where}: {_why(end)}"
            return Finding(reasons.BUNDLE_REFUSED, said, stalled=True)
    return None


def memory_is_short(pods: Pods) -> Finding | None:
    """A container was ended for its memory, or a runtime ended itself because it got none."""
    for container, end in _ends(pods):
        if end.get("reason") == "OOMKilled" or end.get("exitCode") == OutOfMemory.exit_code:
            said = f"{container.where}: {_why(end)}"
            cure = _MEMORY.get(container.name)
            return Finding(reasons.OUT_OF_MEMORY, f"{said}: {cure}" if cure else said, stalled=True)
    return None


def container_crashes(pods: Pods) -> Finding | None:
    """A container has ended more than once."""
    for container, end in _ends(pods):
        restarts = container.status.get("restartCount", 0)
        if restarts >= _CRASHES:
            times = restarts + ("terminated" in container.state)
            said = f"{container.where}: ended {times} times, the last time with {_why(end)}"
            if container.name == TRITON:
                pod = container.pod["metadata"]["name"]
                said += f": `kubectl logs {pod} -c {TRITON} --previous` tells why"
            return Finding(reasons.CRASH_LOOPING, said, stalled=True)
    return None


def image_is_not_pulled(pods: Pods) -> Finding | None:
    """An image cannot be pulled."""
    return _waiting(pods, _PULL, reasons.IMAGE_NOT_PULLED)


def container_is_not_created(pods: Pods) -> Finding | None:
    """A container cannot be made, such as for a Secret that is missing."""
    return _waiting(pods, _CREATE, reasons.CONTAINER_NOT_CREATED)


def no_node_matches(pods: Pods) -> Finding | None:
    """No node can take a pod."""
    for pod in pods:
        for condition in pod.get("status", {}).get("conditions") or ():
            if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
                said = condition.get("message", "")
                return Finding(
                    reasons.NO_MATCHING_NODE, f"pod {pod['metadata']['name']} waits: {said}"
                )
    return None


CHECKS: tuple[Check, ...] = (
    bundle_is_refused,
    memory_is_short,
    container_crashes,
    image_is_not_pulled,
    container_is_not_created,
    no_node_matches,
)


def _waiting(pods: Pods, causes: frozenset[str], reason: str) -> Finding | None:
    for container in containers(pods):
        waiting = container.state.get("waiting") or {}
        if waiting.get("reason") in causes:
            said = waiting.get("message") or waiting["reason"]
            return Finding(reason, f"{container.place}: {said}")
    return None


def _ends(pods: Pods) -> Iterator[tuple[Container, Mapping[str, Any]]]:
    """The containers that have failed, each with its newest end."""
    for container in containers(pods):
        end = container.end
        if end:
            yield container, end


def _why(end: Mapping[str, Any]) -> str:
    """The error that the process left, or what the kubelet knows."""
    result = parse_result(end.get("message") or "")
    if result and result.failure:
        return f"{result.failure.code}: {result.failure.message}"
    reason = end.get("reason")
    return f"exit code {end.get('exitCode')}" + (f" ({reason})" if reason else "")


def _is_ready(pod: KubernetesObject) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _is_going(pod: KubernetesObject) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def ready_pods(pods: Pods) -> list[KubernetesObject]:
    """The pods that answer requests."""
    return [pod for pod in pods if _is_ready(pod) and not _is_going(pod)]
