"""What the pods of a build's step are given, and where they may run: only its last holds a GPU."""

from collections.abc import Mapping
from typing import Any

from nacelle_operator.api.engine_build import EngineBuild
from nacelle_operator.api.placement import Resources
from nacelle_operator.api.target import Target
from nacelle_operator.objects import names
from nacelle_operator.objects.gpu_labels import GpuLabels
from nacelle_operator.objects.job_memory import MEMORY
from nacelle_operator.objects.node_affinity import (
    GPU,
    GPU_TOLERATION,
    GpuWish,
    node_affinity,
    without_gpu_affinity,
)
from nacelle_operator.objects.quantity import to_bytes

_MIB = 1 << 20

# What a small model needs; a large one says its own in targets[].resources. A build on a CPU takes
# all that is idle, and asks for little: on a node of two CPUs it goes on beside what serves there.
_CPU_RESOURCES: Mapping[str, Any] = {"requests": {"cpu": "500m", "memory": "4Gi"}}
_CLAIMED_RESOURCES: Mapping[str, Any] = {"requests": {"cpu": "4", "memory": "32Gi"}}
_GPU_RESOURCES: Mapping[str, Any] = {**_CLAIMED_RESOURCES, "limits": {GPU: "1"}}
# Weights stream through: what counts is the largest tensor.
_PREPARE_RESOURCES: Mapping[str, Any] = {"requests": {"cpu": "1", "memory": "8Gi"}}


def step_resources(target: Target, step: str) -> dict[str, Any]:
    """The container's resources; memory that the user does not state is the default's."""
    if step == names.PREPARE:
        return _asked(target.prepare.resources if target.prepare else None, _PREPARE_RESOURCES)
    if target.architecture.is_cpu:
        return _asked(target.resources, _CPU_RESOURCES)
    default = _CLAIMED_RESOURCES if target.device_claim else _GPU_RESOURCES
    asked = _asked(target.resources, default)
    if target.device_claim:
        return asked
    return {**asked, "limits": {GPU: "1", **asked.get("limits", {})}}


def _asked(stated: Resources | None, default: Mapping[str, Any]) -> dict[str, Any]:
    if stated is None:
        return dict(default)
    asked = {section: amounts for section, amounts in stated.plain().items() if amounts}
    if any(MEMORY in amounts for amounts in asked.values()):
        return asked
    memory = {MEMORY: default["requests"][MEMORY]}
    return {**asked, "requests": {**asked.get("requests", {}), **memory}}


def step_placement(
    build: EngineBuild, target: Target, step: str, labels: GpuLabels
) -> dict[str, Any]:
    """Affinity, tolerations and what else of the pod's spec says where it runs.

    A step that needs no GPU prefers nodes without one and is let onto the others, as there may be
    none else; a RuntimeClass for GPUs may not be known to its node.
    """
    tolerations = [toleration.plain() for toleration in target.tolerations]
    if not target.architecture.is_cpu:
        tolerations.append(dict(GPU_TOLERATION))
    prepares = step == names.PREPARE
    own = target.prepare.node_selector if prepares and target.prepare else {}
    job = build.spec.job
    placement: dict[str, Any] = {
        "affinity": _affinity(target, labels, prepares=prepares),
        "nodeSelector": dict(own or target.node_selector),
        "tolerations": tolerations,
        "imagePullSecrets": [{"name": name} for name in job.image_pull_secrets],
        "runtimeClassName": None if prepares else target.runtime_class_name,
        "priorityClassName": job.priority_class_name,
    }
    return {name: value for name, value in placement.items() if value}


def _affinity(target: Target, labels: GpuLabels, *, prepares: bool) -> dict[str, Any] | None:
    if prepares:
        return without_gpu_affinity(labels)
    if target.device_claim:
        return None  # the device decides, by its own attributes
    memory = -(-to_bytes(target.min_gpu_memory or 0) // _MIB)
    return node_affinity(target.architecture, GpuWish(target.gpu_products, memory, labels))
