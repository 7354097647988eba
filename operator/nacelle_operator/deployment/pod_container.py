"""A serving pod's container as the pod's status tells of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nacelle_operator.objects.names import RUNTIME
from nacelle_operator.plan import KubernetesObject


@dataclass(frozen=True)
class Container:
    """One container's status, and the pod that it is in."""

    pod: KubernetesObject
    status: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its name in the pod."""
        return str(self.status["name"])

    @property
    def place(self) -> str:
        """The pod as messages name it, with the container where it is not the runtime's."""
        pod = f"pod {self.pod['metadata']['name']}"
        return pod if self.name == RUNTIME else f"container {self.name} of {pod}"

    @property
    def where(self) -> str:
        """The place, and the node that it is on."""
        node = self.pod.get("spec", {}).get("nodeName")
        return self.place + (f" on node {node}" if node else "")

    @property
    def state(self) -> Mapping[str, Any]:
        """What it does now: waiting, running or terminated."""
        return self.status.get("state") or {}

    @property
    def end(self) -> Mapping[str, Any] | None:
        """Its newest end, if it has had one."""
        last = self.status.get("lastState") or {}
        return self.state.get("terminated") or last.get("terminated")


def containers(pods: Sequence[KubernetesObject]) -> Iterator[Container]:
    """All containers of all pods; init containers as long as their work is not done."""
    for pod in pods:
        status = pod.get("status", {})
        for one in status.get("initContainerStatuses") or ():
            if not one.get("ready"):
                yield Container(pod, one)
        for one in status.get("containerStatuses") or ():
            yield Container(pod, one)
