"""A condition of a resource's status, as Kubernetes' conventions have it."""

from typing import Annotated, Literal

from pydantic import Field

from nacelle_operator.api.schema import ApiModel


class Condition(ApiModel):
    """One aspect of a resource's state: whether it holds, since when, and why."""

    type: Annotated[str, Field(max_length=64)]
    """What it is about: Ready, Available, Autoscaling, NetworkRestricted, Monitoring, Reconciling,
    Stalled."""

    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""

    reason: Annotated[str, Field(min_length=1, max_length=128)]
    """Why, as one word for programs."""

    message: Annotated[str, Field(max_length=4096)] = ""
    """Why, as a sentence for people, with what to do where something is to be done."""

    observed_generation: int = 0
    """The generation of the spec that this was judged on."""

    last_transition_time: Annotated[
        str, Field(max_length=32, json_schema_extra={"format": "date-time"})
    ]
    """When status last changed."""


Conditions = Annotated[
    tuple[Condition, ...],
    Field(
        max_length=16,
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    ),
]
"""Conditions, one a type."""
