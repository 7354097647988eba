"""The pod that every Job of ours shares: restricted, without a token, with sized scratch space."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nacelle_engine.errors import CorruptBundle, MismatchError, PermanentError
from nacelle_operator.objects.security import container_security, pod_security

CONTAINER = "builder"
# The exit code of SIGKILL, which is how the kernel ends what exceeds its memory.
KILLED = 137
# The condition of a pod that was preempted, evicted, or lost with its node.
DISRUPTED = "DisruptionTarget"
STORE_MOUNT = "/store"
SOURCE_MOUNT = "/source"
_TMP_SIZE = "8Gi"
_HOME_SIZE = "4Gi"
_HOME = "/home/nacelle"


@dataclass(frozen=True)
class Mount:
    """A volume and where the container sees it."""

    name: str
    path: str
    volume: Mapping[str, Any]
    read_only: bool = False


@dataclass(frozen=True)
class JobPod:
    """What differs from one of our Jobs' pods to another."""

    image: str
    command: Sequence[str]
    deadline_seconds: int
    env: Sequence[Mapping[str, Any]] = ()
    mounts: Sequence[Mount] = ()
    resources: Mapping[str, Any] = field(default_factory=dict)
    placement: Mapping[str, Any] = field(default_factory=dict)

    def spec(self) -> dict[str, Any]:
        """The pod's spec; `placement` adds to it: affinity, tolerations, pull secrets ..."""
        mounts = (*self.mounts, *_scratch())
        container = {
            "name": CONTAINER,
            "image": self.image,
            "command": list(self.command),
            "env": [{"name": "HOME", "value": _HOME}, *self.env],
            "resources": dict(self.resources),
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
            "securityContext": container_security(),
            "volumeMounts": [
                {"name": m.name, "mountPath": m.path, "readOnly": m.read_only} for m in mounts
            ],
        }
        return {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": self.deadline_seconds,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": pod_security(),
            "containers": [container],
            "volumes": [{"name": m.name, **m.volume} for m in mounts],
            **self.placement,
        }


def failure_policy(*more_final: int) -> dict[str, Any]:
    """Errors that another attempt would meet again fail the Job, and so do the exit codes of
    `more_final`; a disruption counts as none, whatever code it ended the pod with."""
    final = {error.exit_code for error in (PermanentError, MismatchError, CorruptBundle)}
    exit_codes = {
        "containerName": CONTAINER,
        "operator": "In",
        "values": sorted(final | set(more_final)),
    }
    disrupted = {"type": DISRUPTED, "status": "True"}
    return {
        "rules": [
            {"action": "Ignore", "onPodConditions": [disrupted]},
            {"action": "FailJob", "onExitCodes": exit_codes},
        ]
    }


def store_mount(claim: str) -> Mount:
    """The claim that engines are kept in."""
    return Mount("store", STORE_MOUNT, {"persistentVolumeClaim": {"claimName": claim}})


def store_claim(job: Mapping[str, Any]) -> str | None:
    """The claim that a Job of ours keeps its engine in."""
    for volume in job["spec"]["template"]["spec"].get("volumes", ()):
        if volume["name"] == "store":
            return str(volume["persistentVolumeClaim"]["claimName"])
    return None


def _scratch() -> tuple[Mount, Mount]:
    return (
        Mount("tmp", "/tmp", {"emptyDir": {"sizeLimit": _TMP_SIZE}}),
        Mount("home", _HOME, {"emptyDir": {"sizeLimit": _HOME_SIZE}}),
    )
