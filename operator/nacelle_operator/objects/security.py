"""The security contexts of every pod that the operator starts: Pod Security's level restricted."""

from typing import Any, Final

USER: Final = 10001


def pod_security() -> dict[str, Any]:
    """Of the pod: a fixed user that is not root, and the runtime's default seccomp profile."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> dict[str, Any]:
    """Of a container: a read-only root file system and no capabilities."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
