"""Where pods may run and what they are given: the parts of a pod that resources let users set."""

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from nacelle_operator.api.schema import ApiModel, Word

Quantity = Annotated[
    int | str,
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "maxLength": 32,
            "pattern": r"^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$",
            "x-kubernetes-int-or-string": True,
        }
    ),
]
"""An amount such as 2, 500m or 4Gi."""

Quantities = Annotated[dict[Annotated[str, Field(max_length=253)], Quantity], Field(max_length=16)]


class Resources(ApiModel):
    """What a container asks for and at most gets."""

    requests: Quantities = {}
    """What the scheduler reserves, by resource: cpu, memory."""

    limits: Quantities = {}
    """What the container may use at most, by resource: cpu, memory."""


class Toleration(ApiModel):
    """A taint that does not keep the pod off a node."""

    key: Annotated[str, Field(max_length=317)] | None = None
    """The taint's key; left out with operator Exists it stands for every key."""

    operator: Literal["Exists", "Equal"] | None = None
    """Equal (the default) compares the value too."""

    value: Annotated[str, Field(max_length=63)] | None = None
    """The taint's value."""

    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect; left out it stands for every effect."""

    toleration_seconds: Annotated[int, Field(ge=0)] | None = None
    """How long a pod stays on a node with a NoExecute taint; left out: for ever."""


Tolerations = Annotated[tuple[Toleration, ...], Field(max_length=32)]
NodeSelector = Annotated[
    dict[Annotated[str, Field(max_length=317)], Annotated[str, Field(max_length=63)]],
    Field(max_length=32),
]


class KeyRef(ApiModel):
    """One key of a Secret or ConfigMap of the namespace."""

    name: Word
    """The object's name."""

    key: Word
    """The key in its data."""
