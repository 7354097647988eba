"""The base of every model of the API, and the CEL rules that go into its schema."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class Rule(NamedTuple):
    """A CEL rule: what must hold, and what a person reads and does when it does not."""

    expression: str
    message: str
    message_expression: str = ""

    def schema(self) -> dict[str, str]:
        """The rule as an item of x-kubernetes-validations."""
        item = {"rule": self.expression, "message": self.message}
        if self.message_expression:
            item["messageExpression"] = self.message_expression
        return item


def not_built(field: str, instead: str) -> Rule:
    """The rule that refuses a field by name because nothing honours it yet."""
    return Rule(f"!has(self.{field})", f"{field} is not built yet: {instead}")


def immutable(field: str, *, optional: bool = False) -> Rule:
    """The rule that keeps a field as it was created, an optional one also absent."""
    same = f"self.{field} == oldSelf.{field}"
    if optional:
        same = f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || {same})"
    return Rule(same, f"{field} cannot change: delete the resource and create another")


def no_keys_of_ours(field: str, path: str) -> Rule:
    """The rule that keeps users off the labels or annotations that are set by Nacelle."""
    ours = "key.startsWith('nacelle.dev/') || key.startsWith('app.kubernetes.io/')"
    return Rule(
        f"!has(self.{field}) || !self.{field}.exists(key, {ours})",
        f"{path}: keys below nacelle.dev/ and app.kubernetes.io/ are set by Nacelle",
    )


class WithRules:
    """An annotation that adds rules to a field whose type is the engine's own contract."""

    def __init__(self, *rules: Rule) -> None:
        self._rules = rules

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The field's schema with the rules beside it."""
        return {
            **handler(core_schema),
            "x-kubernetes-validations": [rule.schema() for rule in self._rules],
        }


class ApiModel(BaseModel):
    """An immutable part of a resource: camelCase in JSON, documented by attribute docstrings.

    Unknown fields are passed over: the API server prunes what its schema does not know.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The model's schema with its rules."""
        schema = handler(core_schema)
        if cls.rules:
            resolved = handler.resolve_ref_schema(schema)
            resolved["x-kubernetes-validations"] = [rule.schema() for rule in cls.rules]
        return schema

    def plain(self) -> dict[str, Any]:
        """The JSON value with camelCase names; fields that are not set are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Column(NamedTuple):
    """A column of `kubectl get`; priority 1 shows it with -o wide only."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0


def condition_column(name: str, condition: str, field: str = "status", priority: int = 0) -> Column:
    """The column that shows a field of one condition."""
    return Column(name, f'.status.conditions[?(@.type=="{condition}")].{field}', priority=priority)


AGE = Column("Age", ".metadata.creationTimestamp", "date")


class Metadata(ApiModel):
    """The part of an object's metadata that decisions are made on."""

    name: str
    namespace: str
    uid: str = ""
    generation: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: tuple[str, ...] = ()
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None


class Resource(ApiModel):
    """What every custom resource has; its own class adds spec and status."""

    kind: ClassVar[str]
    plural: ClassVar[str]
    short_name: ClassVar[str]
    columns: ClassVar[tuple[Column, ...]]
    scalable: ClassVar[bool] = False
    api_version: ClassVar[str] = "nacelle.dev/v1alpha1"

    metadata: Metadata

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Self:
        """The resource in a JSON object as the API server gives it."""
        return cls.model_validate(raw)


Foreign = Annotated[
    dict[str, Any],
    WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
]
"""A value whose own schema is Kubernetes'; the API server checks it where it is used."""

Name = Annotated[
    str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
]
"""The name of an object of the namespace."""

LabelValue = Annotated[
    str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")
]
LabelKey = Annotated[str, Field(min_length=1, max_length=317)]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=32)]

Digest = Annotated[str, Field(min_length=64, max_length=64, pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 as 64 hex digits."""

Text = Annotated[str, Field(max_length=4096)]
"""A sentence or two that the operator writes for people."""

Word = Annotated[str, Field(max_length=253)]
"""A short text that the operator writes."""

ModelName = Annotated[
    str,
    Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._/:-]*[A-Za-z0-9])?$"),
]
"""The name that clients send as "model"."""
