"""The models: documented, bounded, and the same in JSON as the API's names."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

from nacelle_operator.api import schema as api_schema
from nacelle_operator.api.crd import RESOURCES, definition
from nacelle_operator.api.duration import parse_duration
from nacelle_operator.api.engine_build import EngineBuildSpec
from nacelle_operator.api.schema import ApiModel


def fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field below a schema with its path."""
    for name, child in schema.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from fields(child, f"{path}.{name}")
    for part in ("items", "additionalProperties"):
        if isinstance(schema.get(part), dict):
            yield f"{path}[]", schema[part]
            yield from fields(schema[part], f"{path}[]")


def all_fields() -> list[tuple[str, dict[str, Any]]]:
    return [
        found
        for resource in RESOURCES
        for found in fields(
            definition(resource)["spec"]["versions"][0]["schema"]["openAPIV3Schema"],
            resource.kind,
        )
    ]


def test_every_field_is_explained() -> None:
    silent = [
        path
        for path, schema in all_fields()
        if not schema.get("description") and not path.endswith(("[]", ".metadata"))
    ]
    assert silent == []


def test_every_list_map_and_text_has_a_bound() -> None:
    """An estimate of a rule's cost is multiplied by these."""
    unbounded = []
    for path, schema in all_fields():
        match schema.get("type"):
            case "array":
                bounded = "maxItems" in schema
            case "string":
                bounded = bool({"maxLength", "enum"} & schema.keys())
            case "object":
                bounded = "additionalProperties" not in schema or "maxProperties" in schema
            case _:
                bounded = True
        if not bounded and not path.endswith((".apiVersion", ".kind")):
            unbounded.append(path)
    assert unbounded == []


def test_no_field_is_a_float_and_none_may_be_null() -> None:
    for path, schema in all_fields():
        assert schema.get("type") != "number", path
        assert not schema.get("nullable"), path


def test_status_has_no_defaults_but_that_no_generation_is_seen() -> None:
    found = {p: s["default"] for p, s in all_fields() if ".status" in p and "default" in s}
    assert found == {
        f"{resource.kind}.status": {"observedGeneration": -1} for resource in RESOURCES
    }


def test_defaults_are_what_the_models_fill_in() -> None:
    raw = {
        "modelName": "m",
        "model": {"persistentVolumeClaim": {"claimName": "c"}},
        "targets": [{"name": "cpu", "architecture": "x86-64-v3"}],
        "store": {"persistentVolumeClaim": {"claimName": "c"}},
    }
    filled = EngineBuildSpec.model_validate(raw).plain()
    schema = definition(RESOURCES[0])["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for name, child in schema["properties"]["spec"]["properties"].items():
        for inner, value in (
            child.get("default") or {} if child["type"] == "object" else {}
        ).items():
            assert filled[name][inner] == value, f"{name}.{inner}"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("1h0m1s", 3601)]
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "1", "1d", "30m1h", "-5s", "1.5h", " 1h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration such as 90s"):
        parse_duration(text)


# Of these only one value is accepted so far: every other is refused by a rule.
ONE_VALUE = {
    "EngineBuildSpec.backend",
    "EngineBuildSpec.parallelism",
    "Parallelism.tensor",
    "Parallelism.pipeline",
    "ModelSource.oci",
    "ModelSource.s3",
    "Autoscaling.provider",
    "OpenAIFrontend.enabled",
}


def models_below(model: Any) -> Iterator[type[ApiModel]]:
    """The API's own models that a type is made of."""
    if isinstance(model, type) and issubclass(model, ApiModel):
        yield model
        for field in model.model_fields.values():
            yield from models_below(field.annotation)
    for part in get_args(model):
        yield from models_below(part)


def test_no_field_is_taken_and_ignored() -> None:
    """Every field of a spec is read somewhere in the operator, or handed on whole."""
    folder = Path(api_schema.__file__).parents[1]
    files = [f for f in folder.rglob("*.py") if f.parent.name != "api"]
    code = "\n".join(file.read_text() for file in files)
    whole = {"Toleration", "Resources", "EnvVariable", "EnvSource"}  # by plain(), as they are
    unread = {
        f"{model.__name__}.{name}"
        for resource in RESOURCES
        for model in models_below(resource.model_fields["spec"].annotation)
        if model.__name__ not in whole
        for name in model.model_fields
        if not re.search(rf"\.{name}\b", code)
    }
    assert unread - ONE_VALUE == set()
