"""A Triton server in a serving pod: its container, the one that writes its models, its volumes.

It reaches the core over a socket in a volume of the pod, and answers once the core can serve.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nacelle_operator.api.serving import TritonFrontend
from nacelle_operator.objects.names import (
    TRITON,
    TRITON_GRPC_PORT,
    TRITON_HTTP_PORT,
    TRITON_METRICS_PORT,
    TRITON_MODELS,
)
from nacelle_operator.objects.security import container_security

_CORE: Final = "/run/nacelle"
CORE_SOCKET: Final = f"{_CORE}/core.sock"
_MODELS: Final = "/models"
_SCRATCH: Final = "/tmp"
# Where Triton's image holds this package and what it needs (triton_image/Dockerfile).
_PACKAGES: Final = "/opt/nacelle"
# Of a start: what Triton itself takes, beyond waiting for the core.
_LOADING_SECONDS: Final = 60
_DEFAULT_RESOURCES: Final = {
    "requests": {"cpu": "250m", "memory": "1Gi"},
    "limits": {"memory": "1Gi"},
}
_MODELS_RESOURCES: Final = {
    "requests": {"cpu": "100m", "memory": "256Mi"},
    "limits": {"memory": "256Mi"},
}


@dataclass(frozen=True)
class Sidecar:
    """What a Triton server needs to know of its pod.

    bundle            the bundle's folder, in the volume that `store` mounts
    start_seconds     how long the core may take to be ready
    withdraw_seconds  how long it still takes requests in when the pod is to go
    drain_seconds     how long running answers get then
    """

    frontend: TritonFrontend
    image: str
    runtime_image: str
    bundle: str
    store: Mapping[str, Any]
    start_seconds: int
    withdraw_seconds: int
    drain_seconds: int


def core_mount() -> dict[str, Any]:
    """Where the runtime makes the core's socket."""
    return {"name": "core", "mountPath": _CORE}


def triton_volumes() -> list[dict[str, Any]]:
    """The core's socket, the models, and memory and scratch of Triton's own."""
    return [
        {"name": "core", "emptyDir": {"sizeLimit": "1Mi"}},
        {"name": "triton-models", "emptyDir": {"sizeLimit": "1Gi"}},
        {"name": "triton-tmp", "emptyDir": {"sizeLimit": "256Mi"}},
        # The Python backend hands tensors over in it; a container's own is 64 MiB, whatever asks.
        {"name": "triton-shm", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}},
    ]


def models_container(sidecar: Sidecar) -> dict[str, Any]:
    """The init container that writes the model repository, with the tokenizer of the bundle.

    It may run again in a pod whose volumes are still there, so it replaces what it wrote.
    """
    return {
        "name": TRITON_MODELS,
        "image": sidecar.runtime_image,
        "command": ["nacelle"],
        "args": [
            *("triton", sidecar.bundle, _MODELS),
            *("--core-socket", CORE_SOCKET),
            *("--core-wait-seconds", str(sidecar.start_seconds)),
            *("--packages", _PACKAGES),
            "--replace",
        ],
        "env": [{"name": "HOME", "value": _SCRATCH}],
        "resources": dict(_MODELS_RESOURCES),
        "securityContext": container_security(),
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            dict(sidecar.store),
            {"name": "triton-models", "mountPath": _MODELS},
        ],
    }


def triton_container(sidecar: Sidecar) -> dict[str, Any]:
    """The container of the server itself; it is live and ready once its models are loaded."""
    frontend = sidecar.frontend
    asked = frontend.resources
    return {
        "name": TRITON,
        "image": sidecar.image,
        "command": ["tritonserver"],
        "args": [
            f"--model-repository={_MODELS}",
            f"--http-port={frontend.http_port}",
            f"--grpc-port={frontend.grpc_port}",
            f"--metrics-port={frontend.metrics_port}",
            "--allow-gpu-metrics=false",
            f"--exit-timeout-secs={sidecar.drain_seconds}",
        ],
        "env": [
            {"name": "HOME", "value": _SCRATCH},
            # The GPU is the runtime's: NVIDIA's images ask for all of a node's GPUs otherwise.
            {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"},
        ],
        "ports": [
            {"name": TRITON_HTTP_PORT, "containerPort": frontend.http_port},
            {"name": TRITON_GRPC_PORT, "containerPort": frontend.grpc_port},
            {"name": TRITON_METRICS_PORT, "containerPort": frontend.metrics_port},
        ],
        "resources": asked.plain() if asked else dict(_DEFAULT_RESOURCES),
        "securityContext": container_security(),
        "lifecycle": {"preStop": {"sleep": {"seconds": sidecar.withdraw_seconds}}},
        "volumeMounts": [
            {**core_mount(), "readOnly": True},
            {"name": "triton-models", "mountPath": _MODELS, "readOnly": True},
            {"name": "triton-tmp", "mountPath": _SCRATCH},
            {"name": "triton-shm", "mountPath": "/dev/shm"},
        ],
        # Nothing of it listens before its models are loaded, which waits for the core.
        "startupProbe": _probe(
            "/v2/health/ready", period=1, failures=sidecar.start_seconds + _LOADING_SECONDS
        ),
        "readinessProbe": _probe("/v2/health/ready", period=5, failures=2),
        "livenessProbe": _probe("/v2/health/live", period=10, failures=6),
    }


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": TRITON_HTTP_PORT},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": 5,
    }
