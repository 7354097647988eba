"""From pydantic's JSON schema to the structural schema that a CustomResourceDefinition takes.

References are put in place, a missing value is an absent field and not null, unknown fields are
pruned rather than refused, and titles go.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

_DROPPED = frozenset({"title", "additionalProperties", "propertyNames", "$defs", "const"})


def structural_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The structural schema of a model and of everything below it."""
    schema = model.model_json_schema(by_alias=True)
    return _flatten(schema, schema.get("$defs", {}))


def _flatten(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    node = _without_null(_resolved(schema, definitions), definitions)
    flat = {name: value for name, value in node.items() if name not in _DROPPED}
    if "const" in node:
        flat["enum"] = [node["const"]]
    default = flat.pop("default", None)
    if "description" in flat:
        flat["description"] = " ".join(flat["description"].split())
    if "properties" in flat:
        flat["properties"] = {
            name: _flatten(child, definitions) for name, child in flat["properties"].items()
        }
    if "items" in flat:
        flat["items"] = _flatten(flat["items"], definitions)
    if isinstance(node.get("additionalProperties"), dict):
        flat["additionalProperties"] = _flatten(node["additionalProperties"], definitions)
    if isinstance(default, dict) and "properties" in flat:
        # Whole, since the API server runs the rules over a default before it fills it in.
        flat["default"] = {
            name: child["default"]
            for name, child in flat["properties"].items()
            if "default" in child
        }
    elif default not in (None, "", [], {}):
        flat["default"] = default
    return flat


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with its reference replaced by what it names; words beside it win."""
    if "$ref" not in schema:
        return dict(schema)
    rest = {name: value for name, value in schema.items() if name != "$ref"}
    name = schema["$ref"].removeprefix("#/$defs/")
    return _resolved(definitions[name], definitions) | rest


def _without_null(node: dict[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """An optional value's schema without the alternative of null."""
    options = node.get("anyOf", [])
    kept = [option for option in options if option != {"type": "null"}]
    if len(kept) == len(options) or len(kept) != 1:
        return node
    rest = {name: value for name, value in node.items() if name != "anyOf"}
    return _resolved(kept[0], definitions) | rest
