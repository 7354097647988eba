"""The grammar of an answer that must call a tool, or may and is then to be strict."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from nacelle_runtime.client import Generation
from nacelle_runtime.frontends.openai.errors import ApiError
from nacelle_runtime.frontends.openai.tools import Function, Offer
from nacelle_runtime.frontends.tool_forms.table import Form
from nacelle_runtime.structured.grammar import LONGEST, GrammarRefused, from_calls, from_schema

# A model that was not trained on lists of calls must come to an end too.
MOST_CALLS = 16


async def calling(generation: Generation, offer: Offer) -> Generation:
    """The request with the grammar of its calls; ApiError 400 names the tool at fault."""
    return replace(generation, grammar=await asyncio.to_thread(grammar_of, offer, None))


async def choosing(
    generation: Generation, offer: Offer, form: Form | None, model: str
) -> Generation:
    """The request with the grammar of text and calls in the model's form, strict ones held to it.

    ApiError 400 names the tool at fault, or the first strict one where no form is known.
    """
    if form is None:
        index = next(at for at, function in offer.callable.items() if function.strict)
        field = f"tools[{index}].function.strict"
        raise ApiError(
            400,
            f"{field}: the form in which {model} calls tools is not known, so that calls of its "
            "own accord cannot be strict: leave it out, or say tool_choice: required",
            param=field,
        )
    return replace(generation, grammar=await asyncio.to_thread(grammar_of, offer, form))


def schema(offer: Offer) -> dict[str, Any]:
    """The schema of the text: one call, or a list of 1 to MOST_CALLS where several are allowed."""
    one = _any(_call(function, "arguments") for function in offer.callable.values())
    if not offer.several:
        return one
    return {"type": "array", "items": one, "minItems": 1, "maxItems": MOST_CALLS}


def _any(calls: Iterable[dict[str, Any]]) -> dict[str, Any]:
    found = list(calls)
    return found[0] if len(found) == 1 else {"anyOf": found}


def _call(function: Function, key: str, *, held: bool = True) -> dict[str, Any]:
    """One function's call; an id of its own keeps a schema's references within it.

    key: of the arguments; where they are not held to their schema they are any object.
    """
    asked = function.schema | {"$id": f"tool:{function.name}"}
    arguments = asked if held else {"type": "object"}
    return {
        "type": "object",
        "properties": {"name": {"const": function.name}, key: arguments},
        "required": ["name", key],
        "additionalProperties": False,
    }


def grammar_of(offer: Offer, form: Form | None) -> str:
    """Of an answer that is calls and nothing else, or of text with calls in a model's own form."""
    try:
        if form is None:
            return from_schema(schema(offer))
        calls = (_call(f, form.ARGUMENTS, held=bool(f.strict)) for f in offer.callable.values())
        return from_calls(form.FRAME, _any(calls))
    except GrammarRefused as error:
        field, why = _at_fault(offer, error, strict=form is not None)
        raise ApiError(400, f"{field}: {why}", param=field, code="invalid_grammar") from error


def _at_fault(offer: Offer, error: GrammarRefused, *, strict: bool) -> tuple[str, GrammarRefused]:
    """The first tool that is refused alone; else it is all of them together."""
    looked_at = 0
    for index, function in offer.callable.items():
        if strict and not function.strict:
            continue
        try:
            from_schema(_call(function, "arguments"))
        except GrammarRefused as alone:
            return f"tools[{index}].function.parameters", alone
        looked_at += len(json.dumps(function.schema))
        if looked_at > LONGEST:
            break
    return "tools", error
