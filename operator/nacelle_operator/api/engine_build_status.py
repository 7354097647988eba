"""How far an EngineBuild is: the whole, and each of its targets."""

from typing import Annotated

from pydantic import Field

from nacelle_engine.arch import Architecture
from nacelle_engine.result import Accuracy
from nacelle_operator.api.condition import Conditions
from nacelle_operator.api.schema import ApiModel, Digest, Name, Text, Word


class ToolchainStatus(ApiModel):
    """The builder that this generation of the build is pinned to."""

    builder_image: Annotated[str, Field(max_length=512)]
    """The builder's image."""

    abi: Word
    """The runtime ABI that it compiles for."""


class EngineRef(ApiModel):
    """An Engine of the namespace."""

    name: Name
    """The Engine's name."""


class StageTiming(ApiModel):
    """How long one stage of a build took."""

    stage: Annotated[str, Field(max_length=32)]
    """The stage."""

    seconds: Annotated[int, Field(ge=0)]
    """Whole seconds."""


class TargetStatus(ApiModel):
    """How far one target's engine is."""

    name: Annotated[str, Field(max_length=40)]
    """The target's name."""

    architecture: Architecture
    """The architecture that it is built for."""

    request_key: Digest | None = None
    """The identity of what was asked for; targets with the same one share a Job."""

    engine_ref: EngineRef | None = None
    """The engine, once it is published."""

    stage: Annotated[str, Field(max_length=32)] = ""
    """The stage at work."""

    percent: Annotated[int, Field(ge=0, le=100)] = 0
    """How much of the work is done."""

    message: Text = ""
    """What goes on, or what went wrong, for people."""

    attempts: Annotated[int, Field(ge=0)] = 0
    """How many pods have been started."""

    node: Word = ""
    """The node that the running pod is on."""

    jobs: Annotated[tuple[Word, ...], Field(max_length=8)] = ()
    """The Jobs that build it."""

    memory: Annotated[dict[Word, Word], Field(max_length=4)] = {}
    """What attempts of a Job are given since one of them ran out of memory, by the Job's name."""

    conditions: Conditions = ()
    """The target's own conditions."""

    accuracy: Accuracy | None = None
    """What the gate measured."""

    timings: Annotated[tuple[StageTiming, ...], Field(max_length=16)] = ()
    """How long each stage took."""


class EngineBuildStatus(ApiModel):
    """How far a build is."""

    observed_generation: int = 0
    """The generation of the spec that this status tells about."""

    conditions: Conditions = ()
    """Ready: every target's engine is published. Reconciling, Stalled: only while true."""

    progress_percent: Annotated[int, Field(ge=0, le=100)] = 0
    """How much of the work is done, over all targets."""

    stage: Annotated[str, Field(max_length=32)] = ""
    """The stage at work in the target that is furthest behind."""

    toolchain: ToolchainStatus | None = None
    """The builder that this generation is pinned to; an upgrade of the operator changes nothing."""

    targets: Annotated[
        tuple[TargetStatus, ...],
        Field(
            max_length=16,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
        ),
    ] = ()
    """Each target by its name."""
