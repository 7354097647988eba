"""Every name, label and annotation that the operator gives, made in this one place."""

from typing import Final, Literal

GROUP: Final = "nacelle.dev"
FIELD_MANAGER: Final = "nacelle-operator"

# Labels.
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
PART: Final = "app.kubernetes.io/component"
APP: Final = "app.kubernetes.io/name"
BUILD: Final = "nacelle.dev/engine-build"
TARGET: Final = "nacelle.dev/target"
ENGINE: Final = "nacelle.dev/engine"
DRAFT_ENGINE: Final = "nacelle.dev/draft-engine"
DEPLOYMENT: Final = "nacelle.dev/inference-deployment"
SLOT: Final = "nacelle.dev/slot"
REVISION: Final = "nacelle.dev/revision"
ACTIVATOR: Final = "nacelle.dev/activator"
REQUEST_KEY: Final = "nacelle.dev/request-key"
STEP: Final = "nacelle.dev/step"
JOB_NAME: Final = "batch.kubernetes.io/job-name"
SERVICE_NAME: Final = "kubernetes.io/service-name"
CPU_LEVEL: Final = "nacelle.dev/cpu-level"
ARCH: Final = "kubernetes.io/arch"
QUEUE_NAME: Final = "kueue.x-k8s.io/queue-name"

# Annotations.
GENERATION: Final = "nacelle.dev/generation"
ACCURACY: Final = "nacelle.dev/accuracy"
ROLLOUT: Final = "nacelle.dev/rollout"
POD_MONITOR: Final = "nacelle.dev/pod-monitor"
SCALED_OBJECT: Final = "nacelle.dev/scaled-object"
INFERENCE_POOL: Final = "nacelle.dev/inference-pool"
MAX_MEMORY: Final = "nacelle.dev/max-memory"
APPLIED: Final = "nacelle.dev/applied"

# Ports by their names in pods: a Service finds them by these, whatever their numbers.
OPENAI_PORT: Final = "openai"
TRITON_HTTP_PORT: Final = "triton-http"
TRITON_GRPC_PORT: Final = "triton-grpc"
TRITON_METRICS_PORT: Final = "triton-metrics"

# The claim for a GPU, by its name in pods and in the claim itself.
GPU_CLAIM: Final = "gpu"

# Containers of a serving pod.
RUNTIME: Final = "runtime"
TRITON: Final = "triton"
TRITON_MODELS: Final = "triton-models"

# Values of STEP: a Job without a GPU, and the one that publishes.
PREPARE: Final = "prepare"
BUILD_STEP: Final = "build"

Slot = Literal["a", "b"]
SLOTS: Final[tuple[Slot, ...]] = ("a", "b")


def other_slot(slot: Slot) -> Slot:
    """The slot beside this one."""
    return "b" if slot == "a" else "a"


def engine_name(key: str) -> str:
    """The Engine of a key: eng- and its first 16 digits."""
    return f"eng-{key[:16]}"


def job_name(request_key: str) -> str:
    """The Job that builds what a request key asks for."""
    return f"build-{request_key[:16]}"


def prepare_job_name(request_key: str) -> str:
    """The Job that does, without a GPU, what of it needs none."""
    return f"prepare-{request_key[:16]}"


def inspect_job_name(key: str) -> str:
    """The Job that verifies an imported engine."""
    return f"inspect-{key[:16]}"


def sweep_job_name(key: str) -> str:
    """The Job that deletes an engine's folder from its store."""
    return f"sweep-{key[:16]}"


def key_label(key: str) -> str:
    """A key as a label's value, which holds at most 63 characters."""
    return key[:32]


def slot_name(deployment: str, slot: Slot) -> str:
    """The Deployment of one slot, and the Service that a route reaches its pods by."""
    return f"{deployment}-{slot}"


def activator_name(deployment: str) -> str:
    """What answers for a deployment without pods: its Deployment, Service and NetworkPolicy."""
    return f"{deployment}-activator"


def revision_name(deployment: str, number: int) -> str:
    """The ControllerRevision that keeps one rendered pod template."""
    return f"{deployment}-{number}"


def url(scheme: str, service: str, namespace: str, port: int) -> str:
    """Where clients in the cluster reach a Service."""
    return f"{scheme}://{service}.{namespace}.svc:{port}"


def managed_labels(part: str) -> dict[str, str]:
    """Labels of every object that the operator makes."""
    return {APP: "nacelle", MANAGED_BY: FIELD_MANAGER, PART: part}
