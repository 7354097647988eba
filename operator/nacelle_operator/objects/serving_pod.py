"""The pod template that serves an engine: rendered once a revision, then kept as it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nacelle_operator.api.engine import Engine
from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.objects.gpu_labels import FEATURE_DISCOVERY, GpuLabels
from nacelle_operator.objects.metadata import serving_labels
from nacelle_operator.objects.names import (
    DRAFT_ENGINE,
    ENGINE,
    OPENAI_PORT,
    REVISION,
    RUNTIME,
    SLOT,
    Slot,
)
from nacelle_operator.objects.node_affinity import GPU, GPU_TOLERATION
from nacelle_operator.objects.pod_affinity import pod_affinity
from nacelle_operator.objects.security import container_security, pod_security
from nacelle_operator.objects.serving_arguments import arguments
from nacelle_operator.objects.serving_secrets import secret_mounts, secret_volumes
from nacelle_operator.objects.triton_server import (
    Sidecar,
    core_mount,
    models_container,
    triton_container,
    triton_volumes,
)

_STORE: Final = "/store"
_STORE_MOUNT: Final = {"name": "store", "mountPath": _STORE, "readOnly": True}
_SCRATCH: Final = "/tmp"
# Endpoints are withdrawn while the pod still answers; then running answers get time to finish.
_WITHDRAW_SECONDS: Final = 5
# Meanwhile the runtime asks clients that keep connections to connect anew, which is elsewhere.
_LEAVE: Final = f"kill -USR1 1; exec sleep {_WITHDRAW_SECONDS}"
_DRAIN_SECONDS: Final = 60
_MARGIN_SECONDS: Final = 10
_GIB: Final = 1 << 30
# Digests are checked before a bundle is opened: at the least this fast, however slow the store.
_READ_BYTES_PER_SECOND: Final = 20 << 20


@dataclass(frozen=True)
class Served:
    """What one revision serves: an engine, in which images, where and under which number.

    gpu_labels: by which nodes tell of their GPUs.
    """

    engine: Engine
    image: str
    slot: Slot
    number: int
    triton_image: str | None = None
    draft: Engine | None = None
    gpu_labels: GpuLabels = FEATURE_DISCOVERY

    @property
    def bytes(self) -> int:
        """The bundles' size."""
        return self.engine.spec.bytes + (self.draft.spec.bytes if self.draft else 0)


def pod_template(resource: InferenceDeployment, served: Served) -> dict[str, Any]:
    """The template of the revision's pods."""
    pod = resource.spec.pod
    ours = {
        **serving_labels(resource),
        SLOT: served.slot,
        ENGINE: served.engine.metadata.name,
        REVISION: str(served.number),
        **({DRAFT_ENGINE: served.draft.metadata.name} if served.draft else {}),
    }
    metadata: dict[str, Any] = {"labels": {**pod.labels, **ours}}
    if pod.annotations:
        metadata["annotations"] = dict(pod.annotations)
    return {"metadata": metadata, "spec": _spec(resource, served)}


def _spec(resource: InferenceDeployment, served: Served) -> dict[str, Any]:
    pod = resource.spec.pod
    triton = _triton(resource, served)
    wished: dict[str, Any] = {
        "initContainers": [models_container(triton)] if triton else [],
        "nodeSelector": dict(pod.node_selector),
        "tolerations": _tolerations(resource, served.engine),
        "topologySpreadConstraints": [dict(c) for c in pod.topology_spread_constraints],
        "priorityClassName": pod.priority_class_name,
        "imagePullSecrets": [{"name": name} for name in pod.image_pull_secrets],
    }
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _WITHDRAW_SECONDS + _DRAIN_SECONDS + _MARGIN_SECONDS,
        "securityContext": pod_security(),
        "affinity": pod_affinity(served.engine.spec, pod.affinity, served.gpu_labels),
        "containers": [
            _container(resource, served),
            *([triton_container(triton)] if triton else []),
        ],
        "volumes": [
            *_volumes(resource, served.engine),
            *(triton_volumes() if triton else []),
        ],
        **{name: value for name, value in wished.items() if value},
    }


def _triton(resource: InferenceDeployment, served: Served) -> Sidecar | None:
    """The Triton server beside the runtime, if one is asked for."""
    if served.triton_image is None:
        return None
    return Sidecar(
        frontend=resource.spec.frontends.triton,
        image=served.triton_image,
        runtime_image=served.image,
        bundle=_bundle(served.engine),
        store=dict(_STORE_MOUNT),
        start_seconds=_patience(served),
        withdraw_seconds=_WITHDRAW_SECONDS,
        drain_seconds=_DRAIN_SECONDS,
    )


def _container(resource: InferenceDeployment, served: Served) -> dict[str, Any]:
    mounts = [dict(_STORE_MOUNT), {"name": "tmp", "mountPath": _SCRATCH}]
    if resource.spec.frontends.triton.enabled:
        mounts.append(core_mount())
    mounts += secret_mounts(resource.spec.frontends.openai)
    return {
        "name": RUNTIME,
        "image": served.image,
        "command": ["nacelle"],
        "args": _arguments(resource, served),
        "env": [{"name": "HOME", "value": _SCRATCH}, *(v.plain() for v in resource.spec.pod.env)],
        "ports": [{"name": OPENAI_PORT, "containerPort": resource.spec.frontends.openai.port}],
        "resources": _resources(resource, served),
        "securityContext": container_security(),
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", _LEAVE]}}},
        "volumeMounts": mounts,
        **_probes(resource, served),
    }


def _arguments(resource: InferenceDeployment, served: Served) -> list[str]:
    return arguments(
        resource,
        bundle=_bundle(served.engine),
        draft=_bundle(served.draft) if served.draft else None,
        model=served.engine.spec.model_name,
        drain_seconds=_DRAIN_SECONDS,
    )


def _bundle(engine: Engine) -> str:
    return f"{_STORE}/{engine.spec.path}"


def _volumes(resource: InferenceDeployment, engine: Engine) -> list[dict[str, Any]]:
    claim = engine.spec.store.persistent_volume_claim.claim_name
    return [
        {"name": "store", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "2Gi"}},
        *secret_volumes(resource.spec.frontends.openai),
    ]


def _tolerations(resource: InferenceDeployment, engine: Engine) -> list[dict[str, Any]]:
    """The user's, and for a GPU engine the taint that GPU nodes usually carry."""
    wished = [toleration.plain() for toleration in resource.spec.pod.tolerations]
    return wished if engine.spec.architecture.is_cpu else [*wished, dict(GPU_TOLERATION)]


def _resources(resource: InferenceDeployment, served: Served) -> Mapping[str, Any]:
    """The user's, or what follows from the engine; a GPU engine has its GPU in any case."""
    asked = resource.spec.pod.resources
    given = asked.plain() if asked else _default_resources(served)
    if served.engine.spec.architecture.is_cpu:
        return given
    return {**given, "limits": {GPU: "1", **given.get("limits", {})}}


def _default_resources(served: Served) -> dict[str, Any]:
    """On a CPU: weights as float32 at the worst (4 bytes for one), and 2 GiB more. On a GPU the
    weights only pass through the host: 8 GiB, and the weights' pages once more.

    The limit equals the request, since the KV cache takes a share of what the limit leaves.
    """
    if served.engine.spec.architecture.is_cpu:
        memory, cpu = f"{2 + -(-4 * served.bytes // _GIB)}Gi", "500m"
    else:
        memory, cpu = f"{8 + -(-served.bytes // _GIB)}Gi", "2"
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}


def _patience(served: Served) -> int:
    """Seconds that a start may take: as many as the store needs."""
    return 120 + served.bytes // _READ_BYTES_PER_SECOND


def _probes(resource: InferenceDeployment, served: Served) -> dict[str, Any]:
    """Ready within a second of being so."""
    scheme = resource.spec.frontends.openai.scheme
    return {
        "startupProbe": _probe(scheme, "/health/ready", period=1, failures=_patience(served)),
        "readinessProbe": _probe(scheme, "/health/ready", period=5, failures=2),
        "livenessProbe": _probe(scheme, "/health/live", period=10, failures=6),
    }


def _probe(scheme: str, path: str, *, period: int, failures: int) -> dict[str, Any]:
    # Said only where it is not the default, so that pods made before this field stay as they are.
    over = {"scheme": "HTTPS"} if scheme == "https" else {}
    return {
        "httpGet": {"path": path, "port": OPENAI_PORT, **over},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": 5,
    }
