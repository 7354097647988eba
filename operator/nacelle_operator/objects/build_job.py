"""The Job that builds one engine; made once, its template is never applied again."""

from collections.abc import Mapping
from typing import Any

from nacelle_engine.errors import OutOfMemory
from nacelle_operator.api.duration import parse_duration
from nacelle_operator.api.engine_build import EngineBuild, Target
from nacelle_operator.api.model_source import HuggingFaceModel, ModelSource
from nacelle_operator.build.request import TargetRequest
from nacelle_operator.kinds import JOB
from nacelle_operator.objects import names
from nacelle_operator.objects.job_memory import (
    MEMORY,
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
from nacelle_operator.objects.node_affinity import GPU, GPU_TOLERATION, node_affinity
from nacelle_operator.objects.quantity import to_bytes

PART = "builder"
_CA_MOUNT = "/etc/nacelle/ca"
# What a small model needs; a large one says its own in targets[].resources. A build on a CPU takes
# all that is idle, and asks for little: on a node of two CPUs it goes on beside what serves there.
_CPU_RESOURCES: Mapping[str, Any] = {"requests": {"cpu": "500m", "memory": "4Gi"}}
_GPU_RESOURCES: Mapping[str, Any] = {
    "requests": {"cpu": "4", "memory": "32Gi"},
    "limits": {GPU: "1"},
}


def build_job(
    build: EngineBuild, request: TargetRequest, builder_image: str, memory: int = 0
) -> dict[str, Any]:
    """The Job for one target of a build; `memory` is what its pods are given at least, in bytes."""
    job = build.spec.job
    first = _resources(request.target)
    bound = str(request.target.max_memory or default_bound(first))
    resources = with_memory(first, min(memory, to_bytes(bound)))
    labels = _labels(build, request)
    kueue = {names.QUEUE_NAME: job.queue_name} if job.queue_name else {}
    pod = _pod(build, request, builder_image, resources)
    return {
        "apiVersion": JOB.api_version,
        "kind": JOB.name,
        "metadata": {
            "name": request.job,
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
            "template": {"metadata": {"labels": labels}, "spec": pod.spec()},
        },
    }


def _labels(build: EngineBuild, request: TargetRequest) -> dict[str, str]:
    return {
        **names.managed_labels(PART),
        names.BUILD: build.metadata.name,
        names.TARGET: request.target.name,
        names.REQUEST_KEY: names.key_label(request.key),
    }


def _pod(
    build: EngineBuild, request: TargetRequest, image: str, resources: dict[str, Any]
) -> JobPod:
    spec = build.spec
    return JobPod(
        image=image,
        command=("nacelle", "build", "--request-env"),
        deadline_seconds=max(1, int(parse_duration(spec.job.attempt_timeout).total_seconds())),
        env=(
            {
                "name": "NACELLE_BUILD_REQUEST",
                "value": request.request.model_dump_json(by_alias=True),
            },
            *_hub_env(spec.model.hugging_face),
        ),
        mounts=(*_source_mounts(spec.model), store_mount(request.store_claim)),
        resources=resources,
        placement=_placement(build, request.target),
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


def _resources(target: Target) -> dict[str, Any]:
    default = _CPU_RESOURCES if target.architecture.is_cpu else _GPU_RESOURCES
    asked = target.resources.plain() if target.resources else dict(default)
    if not any(MEMORY in amounts for amounts in asked.values()):
        memory = {MEMORY: default["requests"][MEMORY]}
        asked = {**asked, "requests": {**asked.get("requests", {}), **memory}}
    if target.architecture.is_cpu:
        return asked
    return {**asked, "limits": {GPU: "1", **asked.get("limits", {})}}


def _placement(build: EngineBuild, target: Target) -> dict[str, Any]:
    tolerations = [toleration.plain() for toleration in target.tolerations]
    if not target.architecture.is_cpu:
        tolerations.append(dict(GPU_TOLERATION))
    job = build.spec.job
    secrets = [{"name": name} for name in job.image_pull_secrets]
    placement: dict[str, Any] = {
        "affinity": node_affinity(target.architecture, target.gpu_products),
        "nodeSelector": dict(target.node_selector),
        "tolerations": tolerations,
        "imagePullSecrets": secrets,
        "runtimeClassName": target.runtime_class_name,
        "priorityClassName": job.priority_class_name,
    }
    return {name: value for name, value in placement.items() if value}
