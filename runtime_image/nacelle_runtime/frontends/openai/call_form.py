"""Calls of tools as OpenAI writes them: whole, or part by part in a stream."""

from collections.abc import Sequence
from typing import Any

from nacelle_runtime.frontends.tool_calls import CallPart


def whole_calls(parts: Sequence[CallPart]) -> list[dict[str, Any]]:
    """The calls of an answer, from all of their parts in the order of their coming."""
    calls: list[dict[str, Any]] = []
    for part in parts:
        if part.name:
            function = {"name": part.name, "arguments": ""}
            calls.append({"id": part.id, "type": "function", "function": function})
        calls[part.index]["function"]["arguments"] += part.arguments
    return calls


def call_delta(part: CallPart) -> dict[str, Any]:
    """A part in a stream: id, type and name come with the first of a call."""
    if not part.name:
        return {"index": part.index, "function": {"arguments": part.arguments}}
    function = {"name": part.name, "arguments": part.arguments}
    return {"index": part.index, "id": part.id, "type": "function", "function": function}
