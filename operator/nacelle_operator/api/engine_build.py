"""EngineBuild: asks for engines of one model, one for each target."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from nacelle_engine.limits import Limits
from nacelle_engine.precision import Determinism, Quantization
from nacelle_engine.request import AccuracyBounds
from nacelle_operator.api.duration import Duration
from nacelle_operator.api.engine_build_status import EngineBuildStatus
from nacelle_operator.api.model_source import ModelSource
from nacelle_operator.api.refusals import (
    BACKEND_BUILT,
    CALIBRATION_AGREES,
    CALIBRATION_AT_HAND,
    LIMITS_AGREE,
    PARALLELISM_BUILT,
    QUANTIZATION_BUILT,
)
from nacelle_operator.api.schema import (
    AGE,
    ApiModel,
    Column,
    LabelValue,
    ModelName,
    Name,
    Resource,
    Rule,
    condition_column,
)
from nacelle_operator.api.store import Store
from nacelle_operator.api.target import Target


class Parallelism(ApiModel):
    """Over how many devices an engine is spread."""

    rules: ClassVar[tuple[Rule, ...]] = PARALLELISM_BUILT

    tensor: Annotated[int, Field(ge=1, le=64)] = 1
    """Devices that share each layer."""

    pipeline: Annotated[int, Field(ge=1, le=64)] = 1
    """Groups of devices that each hold a run of layers."""


class BuildJob(ApiModel):
    """How the Jobs of a build are run."""

    attempt_timeout: Duration = "4h"
    """How long one attempt may run once it is on a node."""

    scheduling_timeout: Duration = "24h"
    """How long an attempt may wait for a node before the target has failed."""

    backoff_limit: Annotated[int, Field(ge=0, le=20)] = 3
    """How many times a failed attempt is tried again; permanent failures never are."""

    queue_name: LabelValue | None = None
    """The Kueue LocalQueue that admits the Jobs."""

    priority_class_name: Name | None = None
    """The PriorityClass of the Jobs' pods."""

    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=2_592_000)] = 3600
    """How long a finished Job is kept once its result is recorded."""

    image_pull_secrets: Annotated[tuple[Name, ...], Field(max_length=8)] = ()
    """Secrets that the builder's image is pulled with."""


class EngineBuildSpec(ApiModel):
    """The engines that are asked for."""

    rules: ClassVar[tuple[Rule, ...]] = (
        *BACKEND_BUILT,
        CALIBRATION_AT_HAND,
        *QUANTIZATION_BUILT,
    )

    model_name: ModelName
    """The name that clients of the engines will send as "model"."""

    model: ModelSource
    """Where the model comes from."""

    backend: Literal["native", "tensorrt"] = "native"
    """What compiles the engines' layers: our own kernels, or TensorRT all but attention (for GPUs;
    the builder's and the runtime's image must hold it)."""

    quantization: Annotated[Quantization, CALIBRATION_AGREES] = Quantization()
    """What of the engines is quantised, and how."""

    determinism: Determinism = Determinism.FAST
    """Fast: the quickest kernels. BatchInvariant: a row's result never depends on its batch."""

    limits: Annotated[Limits, LIMITS_AGREE] = Limits()
    """The sizes that the engines are built for."""

    parallelism: Parallelism = Parallelism()
    """Over how many devices an engine is spread."""

    accuracy: AccuracyBounds = AccuracyBounds()
    """The bounds on quality that the measured figures must keep."""

    targets: Annotated[
        tuple[Target, ...],
        Field(
            min_length=1,
            max_length=16,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
        ),
    ]
    """The architectures to build for: one engine each; one failing does not stop the others."""

    store: Store
    """Where the engines are kept."""

    job: BuildJob = BuildJob()
    """How the Jobs are run."""

    suspend: bool = False
    """Stop: no Job is started, and running ones are ended."""

    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """What becomes of the engines when this build is deleted."""


class EngineBuild(Resource):
    """EngineBuild asks for engines of one model, compiled ahead of time, one for each target."""

    kind: ClassVar[str] = "EngineBuild"
    plural: ClassVar[str] = "enginebuilds"
    short_name: ClassVar[str] = "eb"
    columns: ClassVar[tuple[Column, ...]] = (
        condition_column("Ready", "Ready"),
        condition_column("Reason", "Ready", "reason"),
        Column("Stage", ".status.stage"),
        Column("Progress", ".status.progressPercent", "integer"),
        Column("Engine", ".status.targets[0].engineRef.name"),
        condition_column("Message", "Ready", "message", priority=1),
        AGE,
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.metadata.name.size() <= 63",
            "metadata.name must have at most 63 characters: it becomes a label's value",
        ),
    )

    spec: EngineBuildSpec
    """What is asked for."""

    status: EngineBuildStatus = EngineBuildStatus()
    """How far it is; written by the operator."""
