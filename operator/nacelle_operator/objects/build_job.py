"""The Job that builds one engine; made once, its template is never applied again."""

from dataclasses import dataclass, replace
from typing import Any

from nacelle_engine.errors import OutOfMemory
from nacelle_operator.api.duration import parse_duration
from nacelle_operator.api.engine_build import EngineBuild
from nacelle_operator.api.model_source import HuggingFaceModel, ModelSource
from nacelle_operator.build.request import TargetRequest
from nacelle_operator.kinds import JOB
from nacelle_operator.objects import names
from nacelle_operator.objects.build_step import step_placement, step_resources
from nacelle_operator.objects.gpu_labels import FEATURE_DISCOVERY, GpuLabels
from nacelle_operator.objects.job_memory import (
    default_bound,
    with_memory,
)
from nacelle_operator.objects.job_pod import (
    KILLED,
    SOURCE_MOUNT,
    JobPod,
    Mount,
    failure_policy,
    store_mount,
)
from nacelle_operator.objects.quantity import to_bytes
from nacelle_operator.objects.resource_claim_template import pod_claim

PART = "builder"
_CA_MOUNT = "/etc/nacelle/ca"


@dataclass(frozen=True)
class WantedJob:
    """One of a request's Jobs: its name, the bytes of memory that its pods are given at least, what
    tells it from others of its name, before and after it, and by what labels nodes tell of GPUs."""

    name: str
    memory: int = 0
    made: str = ""
    gpu_labels: GpuLabels = FEATURE_DISCOVERY


def build_job(
    build: EngineBuild, request: TargetRequest, builder_image: str, wanted: WantedJob
) -> dict[str, Any]:
    """The Job, as it is created."""
    job = build.spec.job
    step = names.PREPARE if wanted.name == request.prepare_job else names.BUILD_STEP
    first = step_resources(request.target, step)
    bound = str(request.target.max_memory or default_bound(first))
    resources: dict[str, Any] = with_memory(first, min(wanted.memory, to_bytes(bound)))
    labels = {**_labels(build, request), names.STEP: step}
    kueue = {names.QUEUE_NAME: job.queue_name} if job.queue_name else {}
    claims = {}
    if request.target.device_claim and step == names.BUILD_STEP:
        resources = {**resources, "claims": [{"name": names.GPU_CLAIM}]}
        claims = pod_claim(f"{wanted.name}-{wanted.made}")
    placement = step_placement(build, request.target, step, wanted.gpu_labels)
    made = _pod(build, request, builder_image, step)
    pod = replace(made, resources=resources, placement=placement).spec() | claims
    return {
        "apiVersion": JOB.api_version,
        "kind": JOB.name,
        "metadata": {
            "name": wanted.name,
            "namespace": build.metadata.namespace,
            "labels": {**labels, **kueue},
            "annotations": {
                names.GENERATION: str(build.metadata.generation),
                names.MAX_MEMORY: bound,
            },
        },
        "spec": {
            "backoffLimit": job.backoff_limit,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": failure_policy(OutOfMemory.exit_code, KILLED),
            **({"suspend": True} if job.queue_name else {}),
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _labels(build: EngineBuild, request: TargetRequest) -> dict[str, str]:
    return {
        **names.managed_labels(PART),
        names.BUILD: build.metadata.name,
        names.TARGET: request.target.name,
        names.REQUEST_KEY: names.key_label(request.key),
    }


def _pod(build: EngineBuild, request: TargetRequest, image: str, step: str) -> JobPod:
    spec = build.spec
    until = ("--until", request.prepares_until) if step == names.PREPARE else ()
    return JobPod(
        image=image,
        command=("nacelle", "build", "--request-env", *until),
        deadline_seconds=max(1, int(parse_duration(spec.job.attempt_timeout).total_seconds())),
        env=(
            {
                "name": "NACELLE_BUILD_REQUEST",
                "value": request.request.model_dump_json(by_alias=True),
            },
            *_hub_env(spec.model.hugging_face),
        ),
        mounts=(*_source_mounts(spec.model), store_mount(request.store_claim)),
    )


def _hub_env(hub: HuggingFaceModel | None) -> tuple[dict[str, Any], ...]:
    env: list[dict[str, Any]] = []
    if hub and hub.endpoint:
        env.append({"name": "HF_ENDPOINT", "value": hub.endpoint})
    if hub and hub.token_secret_ref:
        secret = hub.token_secret_ref.plain()
        env.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": secret}})
    if hub and hub.ca_bundle_ref:
        env.append({"name": "SSL_CERT_FILE", "value": f"{_CA_MOUNT}/{hub.ca_bundle_ref.key}"})
    return tuple(env)


def _source_mounts(model: ModelSource) -> tuple[Mount, ...]:
    mounts: list[Mount] = []
    if model.persistent_volume_claim:
        claim = {"claimName": model.persistent_volume_claim.claim_name}
        volume = {"persistentVolumeClaim": claim}
        mounts.append(Mount("source", SOURCE_MOUNT, volume, read_only=True))
    if model.hugging_face and model.hugging_face.ca_bundle_ref:
        volume = {"configMap": {"name": model.hugging_face.ca_bundle_ref.name}}
        mounts.append(Mount("ca", _CA_MOUNT, volume, read_only=True))
    return tuple(mounts)
