"""The fields that say what an answer's text must be, and the grammar that they ask for."""

import asyncio
from dataclasses import replace
from typing import Annotated, Any

import msgspec

from nacelle_runtime.client import Generation
from nacelle_runtime.frontends.openai.errors import ApiError
from nacelle_runtime.structured.grammar import (
    GrammarRefused,
    from_lark,
    from_regex,
    from_schema,
)

Name = Annotated[str, msgspec.Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
Text = Annotated[str, msgspec.Meta(min_length=1)]


class TextFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="text"):
    """Any text."""


class ObjectFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="json_object"):
    """Any JSON object."""


class NamedSchema(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A JSON schema; it is kept to whether `strict` is asked for or not."""

    name: Name
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class SchemaFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="json_schema"):
    """JSON that fits a schema."""

    json_schema: NamedSchema


ResponseFormat = TextFormat | ObjectFormat | SchemaFormat


class StructuredOutputs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Beyond OpenAI's fields: one of a JSON schema, a regex and a grammar in Lark's form."""

    json: dict[str, Any] | None = None
    regex: Text | None = None
    grammar: Text | None = None


class Formatted(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The fields of both endpoints, and those that a grammar leaves no room for."""

    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    min_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None
    bad_words: (
        Annotated[
            list[Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]],
            msgspec.Meta(max_length=256),
        ]
        | None
    ) = None
    ignore_eos: bool | None = None


async def constrained(generation: Generation, request: Formatted) -> Generation:
    """The request with its grammar, if it asks for one; ApiError 400 names the field at fault."""
    if asked(request) is None:
        return generation
    check_beside_grammar(request)
    # A large schema takes milliseconds, in which other answers go on.
    return replace(generation, grammar=await asyncio.to_thread(_grammar, request))


def check_beside_grammar(request: Formatted) -> None:
    """ApiError 400 for a field that a grammar leaves no room for."""
    for field in ("min_tokens", "bad_words", "ignore_eos"):
        if getattr(request, field):
            raise ApiError(
                400, f"{field}: an answer with a grammar ends where the grammar does", param=field
            )


def asked(request: Formatted) -> str | None:
    """The field that asks for a grammar."""
    formatted = request.response_format
    if isinstance(formatted, TextFormat):
        formatted = None
    if formatted is not None and request.structured_outputs is not None:
        raise ApiError(
            400, "structured_outputs and response_format: give one", param="structured_outputs"
        )
    if formatted is not None:
        return "response_format"
    return "structured_outputs" if request.structured_outputs is not None else None


def _grammar(request: Formatted) -> str:
    field = asked(request)
    try:
        if request.structured_outputs is not None:
            return _structured(request.structured_outputs)
        if isinstance(request.response_format, SchemaFormat):
            field = "response_format.json_schema.schema"
            return from_schema(request.response_format.json_schema.schema)
        return from_schema({"type": "object"})
    except GrammarRefused as error:
        raise ApiError(400, f"{field}: {error}", param=field, code="invalid_grammar") from error


def _structured(given: StructuredOutputs) -> str:
    forms = [one for one in (given.json, given.regex, given.grammar) if one is not None]
    if len(forms) != 1:
        raise GrammarRefused("give one of json, regex and grammar")
    if given.json is not None:
        return from_schema(given.json)
    return from_regex(given.regex) if given.regex is not None else from_lark(given.grammar or "")
