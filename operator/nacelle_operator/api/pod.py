"""The closed list of what a user may set on serving pods.

Security context, volumes, host settings and service accounts are left out: they would turn the
right to create a deployment into the right to run anything.
"""

from typing import Annotated, ClassVar

from pydantic import Field

from nacelle_operator.api.placement import KeyRef, NodeSelector, Resources, Tolerations
from nacelle_operator.api.schema import (
    ApiModel,
    Foreign,
    LabelKey,
    Labels,
    Name,
    Rule,
    no_keys_of_ours,
)


class EnvSource(ApiModel):
    """Where a variable's value is read from."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.secretKeyRef) != has(self.configMapKeyRef)",
            "valueFrom needs exactly one of secretKeyRef and configMapKeyRef",
        ),
    )

    secret_key_ref: KeyRef | None = None
    """A key of a Secret of the namespace."""

    config_map_key_ref: KeyRef | None = None
    """A key of a ConfigMap of the namespace."""


class EnvVariable(ApiModel):
    """One environment variable of the runtime."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.value) && has(self.valueFrom))",
            "a variable has a value or valueFrom, not both",
        ),
        Rule(
            "self.name != 'HOME' && !self.name.startsWith('NACELLE_')",
            "HOME and names that begin with NACELLE_ are set by Nacelle: choose another name",
        ),
    )

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")]
    """The variable's name."""

    value: Annotated[str, Field(max_length=4096)] | None = None
    """Its value."""

    value_from: EnvSource | None = None
    """Where its value is read from."""


class PodOverrides(ApiModel):
    """What is added to the serving pods."""

    rules: ClassVar[tuple[Rule, ...]] = (
        no_keys_of_ours("labels", "pod.labels"),
        no_keys_of_ours("annotations", "pod.annotations"),
    )

    labels: Labels = {}
    """Labels of the pods."""

    annotations: Annotated[
        dict[LabelKey, Annotated[str, Field(max_length=8192)]], Field(max_length=32)
    ] = {}
    """Annotations of the pods."""

    node_selector: NodeSelector = {}
    """Labels that the pods' nodes must have, beside what the engine demands."""

    affinity: Foreign | None = None
    """A pod's affinity, as in a Pod; what the engine demands of its node is added to every term."""

    tolerations: Tolerations = ()
    """Taints that do not keep the pods off a node."""

    topology_spread_constraints: Annotated[tuple[Foreign, ...], Field(max_length=8)] = ()
    """How the pods spread over zones and nodes, as in a Pod."""

    priority_class_name: Name | None = None
    """The PriorityClass of the pods."""

    resources: Resources | None = None
    """What the runtime's container is given; left out: sized by the engine."""

    env: Annotated[
        tuple[EnvVariable, ...],
        Field(
            max_length=64,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
        ),
    ] = ()
    """Environment variables of the runtime."""

    image_pull_secrets: Annotated[tuple[Name, ...], Field(max_length=8)] = ()
    """Secrets that the pods' images are pulled with."""
