"""The grammar of an answer that must call a tool."""

import asyncio
import json
from dataclasses import replace
from typing import Any

from nacelle_runtime.client import Generation
from nacelle_runtime.frontends.openai.errors import ApiError
from nacelle_runtime.frontends.openai.tools import Function, Offer
from nacelle_runtime.structured.grammar import LONGEST, GrammarRefused, from_schema

# A model that was not trained on lists of calls must come to an end too.
MOST_CALLS = 16


async def calling(generation: Generation, offer: Offer) -> Generation:
    """The request with the grammar of its calls; ApiError 400 names the tool at fault."""
    return replace(generation, grammar=await asyncio.to_thread(_grammar, offer))


def schema(offer: Offer) -> dict[str, Any]:
    """The schema of the text: one call, or a list of 1 to MOST_CALLS where several are allowed."""
    calls = [_call(function) for function in offer.callable.values()]
    one = calls[0] if len(calls) == 1 else {"anyOf": calls}
    if not offer.several:
        return one
    return {"type": "array", "items": one, "minItems": 1, "maxItems": MOST_CALLS}


def _call(function: Function) -> dict[str, Any]:
    """One function's call; an id of its own keeps a schema's references within it."""
    arguments = function.schema | {"$id": f"tool:{function.name}"}
    return {
        "type": "object",
        "properties": {"name": {"const": function.name}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _grammar(offer: Offer) -> str:
    try:
        return from_schema(schema(offer))
    except GrammarRefused as error:
        field, why = _at_fault(offer, error)
        raise ApiError(400, f"{field}: {why}", param=field, code="invalid_grammar") from error


def _at_fault(offer: Offer, error: GrammarRefused) -> tuple[str, GrammarRefused]:
    """The first tool that is refused alone; else it is all of them together."""
    looked_at = 0
    for index, function in offer.callable.items():
        try:
            from_schema(_call(function))
        except GrammarRefused as alone:
            return f"tools[{index}].function.parameters", alone
        looked_at += len(json.dumps(function.schema))
        if looked_at > LONGEST:
            break
    return "tools", error
