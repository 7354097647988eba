"""Engine: records one that exists; deployments, reference counts and deletion stand on it."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from nacelle_engine.arch import Architecture
from nacelle_engine.limits import Limits
from nacelle_engine.result import Accuracy
from nacelle_operator.api.condition import Conditions
from nacelle_operator.api.refusals import LIMITS_AGREE
from nacelle_operator.api.schema import (
    AGE,
    ApiModel,
    Column,
    Digest,
    ModelName,
    Resource,
    Rule,
    Word,
    condition_column,
    immutable,
)
from nacelle_operator.api.store import Store


class EngineSpec(ApiModel):
    """What an engine is and where it lies; made by the operator, or by a user to import one."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!self.path.startsWith('/') && !self.path.split('/').exists(part, part == '..')",
            "path must be relative to the store's root and stay inside it",
        ),
        immutable("gpuProduct", optional=True),
        *(
            immutable(field)
            for field in (
                "key",
                "modelName",
                "architecture",
                "abi",
                "limits",
                "store",
                "path",
                "digest",
                "bytes",
            )
        ),
    )

    key: Digest
    """The engine's key, over its content."""

    model_name: ModelName
    """The name that clients send as "model"."""

    architecture: Architecture
    """The instruction set that it was compiled for."""

    gpu_product: Annotated[str, Field(min_length=1, max_length=63)] | None = None
    """The GPU product (label nvidia.com/gpu.product) that it was tuned for and runs on; left out:
    any of its architecture."""

    abi: Annotated[str, Field(min_length=1, max_length=253)]
    """The runtime that it was compiled for; deployments take the image of this ABI."""

    limits: Annotated[Limits, LIMITS_AGREE]
    """The sizes that it was built for."""

    store: Store
    """Where it is kept."""

    path: Annotated[str, Field(min_length=1, max_length=512)]
    """The bundle's folder in the store, engines/<key>."""

    digest: Digest
    """The bundle's digest: SHA-256 of its manifest.json."""

    bytes: Annotated[int, Field(ge=0)]
    """The size of all its files together."""

    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """Whether the stored bundle is deleted with this resource."""


class User(ApiModel):
    """A resource that uses an engine."""

    kind: Word
    """Its kind."""

    name: Word
    """Its name, in the same namespace."""


class EngineStatus(ApiModel):
    """Whether the engine is there, and who uses it."""

    observed_generation: int = 0
    """The generation of the spec that this status tells about."""

    conditions: Conditions = ()
    """Ready: the bundle is in the store and its digests match."""

    accuracy: Accuracy | None = None
    """What the gate measured when it was built."""

    used_by: Annotated[tuple[User, ...], Field(max_length=256)] = ()
    """The builds that asked for it and the deployments that serve it."""


class Engine(Resource):
    """Engine records one compiled engine that lies in a store."""

    kind: ClassVar[str] = "Engine"
    plural: ClassVar[str] = "engines"
    short_name: ClassVar[str] = "eng"
    columns: ClassVar[tuple[Column, ...]] = (
        condition_column("Ready", "Ready"),
        Column("Model", ".spec.modelName"),
        Column("Architecture", ".spec.architecture"),
        Column("Bytes", ".spec.bytes", "integer"),
        Column("ABI", ".spec.abi", priority=1),
        condition_column("Message", "Ready", "message", priority=1),
        AGE,
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.metadata.name == 'eng-' + self.spec.key.substring(0, 16)",
            "an Engine is named eng-<the first 16 digits of spec.key>",
            "'metadata.name must be eng-' + self.spec.key.substring(0, 16) + "
            "': eng- and the first 16 digits of spec.key'",
        ),
    )

    spec: EngineSpec
    """What it is and where it lies."""

    status: EngineStatus = EngineStatus()
    """Whether it is there; written by the operator."""
