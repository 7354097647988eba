"""One target of an EngineBuild: an architecture, and what its Jobs are given."""

from typing import Annotated, ClassVar

from pydantic import Field

from nacelle_engine.arch import Architecture
from nacelle_operator.api.placement import NodeSelector, Quantity, Resources, Tolerations
from nacelle_operator.api.refusals import MAX_MEMORY_IS_AMOUNT, MIN_GPU_MEMORY_IS_AMOUNT
from nacelle_operator.api.schema import ApiModel, Name, Rule


class Prepare(ApiModel):
    """The Job before a GPU's, which fetches and converts the model and holds no GPU."""

    resources: Resources | None = None
    """What its container is given; left out: 1 CPU and 8Gi of memory."""

    node_selector: NodeSelector = {}
    """Labels that its node must have, instead of the target's nodeSelector."""


class DeviceClaim(ApiModel):
    """A GPU by dynamic resource allocation: one device of a class, chosen by its attributes."""

    device_class_name: Name = "gpu.nvidia.com"
    """The DeviceClass."""

    driver: Name = "gpu.nvidia.com"
    """The driver whose attributes cudaComputeCapability and productName tell the architecture and
    the gpuProducts (spaces as dashes)."""

    selectors: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=1024)], ...], Field(max_length=8)
    ] = ()
    """What else must hold of the device: CEL expressions of a ResourceClaim's."""


class Target(ApiModel):
    """One architecture to build an engine for, and where its Job may run."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.gpuProducts) || self.gpuProducts.size() == 0 "
            "|| self.architecture.startsWith('sm_')",
            "gpuProducts has no meaning for a CPU architecture: leave it out",
        ),
        MAX_MEMORY_IS_AMOUNT,
        MIN_GPU_MEMORY_IS_AMOUNT,
        Rule(
            "!has(self.minGpuMemory) || self.architecture.startsWith('sm_')",
            "minGpuMemory has no meaning for a CPU architecture: leave it out",
        ),
        Rule(
            "!has(self.minGpuMemory) || !has(self.deviceClaim)",
            "minGpuMemory is asked of node labels: with deviceClaim, say it in its selectors",
        ),
        Rule(
            "!has(self.deviceClaim) || self.architecture.startsWith('sm_')",
            "deviceClaim has no meaning for a CPU architecture: leave it out",
        ),
        Rule(
            "!has(self.deviceClaim) || !has(self.resources) || "
            "((!has(self.resources.limits) || !('nvidia.com/gpu' in self.resources.limits)) && "
            "(!has(self.resources.requests) || !('nvidia.com/gpu' in self.resources.requests)))",
            "deviceClaim is a GPU already: leave nvidia.com/gpu out of resources",
        ),
        Rule(
            "!has(self.prepare) || self.architecture.startsWith('sm_')",
            "prepare has no meaning for a CPU architecture, whose one Job needs no GPU: leave it "
            "out",
        ),
    )

    name: Annotated[
        str, Field(min_length=1, max_length=40, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    ]
    """The target's name in this build; deployments refer to it."""

    architecture: Architecture
    """The instruction set that the engine is compiled for."""

    gpu_products: Annotated[
        tuple[Annotated[str, Field(max_length=63)], ...], Field(max_length=16)
    ] = ()
    """GPU products (label nvidia.com/gpu.product) that the engine may be tuned for."""

    min_gpu_memory: Quantity | None = None
    """The least memory that the GPU must have (label nvidia.com/gpu.memory), such as 79Gi: of one
    product there are cards with less. Pods that serve are told by their own affinity."""

    resources: Resources | None = None
    """What the builder's container is given; left out, or without memory: 4Gi of memory for a CPU
    architecture, 32Gi for a GPU."""

    max_memory: Quantity | None = None
    """What an attempt is given at most after others ran out of memory: each time twice as much.
    Left out: four times what the first was given; less than that: none gets more."""

    device_claim: DeviceClaim | None = None
    """Ask for the GPU by a ResourceClaimTemplate, made with the Job, instead of the resource
    nvidia.com/gpu and of node labels."""

    prepare: Prepare | None = None
    """The Job before a GPU's, which fetches and converts the model and holds no GPU."""

    node_selector: NodeSelector = {}
    """Labels that the Jobs' nodes must have, beside those that the architecture demands."""

    tolerations: Tolerations = ()
    """Taints that do not keep the Jobs off a node."""

    runtime_class_name: Name | None = None
    """The RuntimeClass of the Job's pods; that of `prepare` has none."""
