"""The messages of a chat, one type a role, and what a chat template gets of them."""

from typing import Annotated, Any, Literal

import msgspec

from nacelle_runtime.frontends.openai.errors import ApiError
from nacelle_runtime.frontends.openai.formats import Name


class TextPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a message; only text is served."""

    type: Literal["text"]
    text: str


Content = str | list[TextPart]


class _Spoken(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="role"):
    """A message that is text."""

    content: Content
    name: str | None = None


class SystemMessage(_Spoken, frozen=True, tag="system"):
    """What the model is told to be."""


class DeveloperMessage(_Spoken, frozen=True, tag="developer"):
    """OpenAI's newer name for a system message."""


class UserMessage(_Spoken, frozen=True, tag="user"):
    """What a user says."""


class CalledFunction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A function's name and its arguments, the JSON text of an object."""

    name: Name
    arguments: str


class ToolCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call that an answer made."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class AssistantMessage(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="role", tag="assistant"
):
    """An answer that is sent back; its empty fields may come with it."""

    content: Content | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    refusal: None = None
    function_call: None = None
    audio: None = None
    annotations: Annotated[list[Any], msgspec.Meta(max_length=0)] | None = None


class ToolMessage(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="role", tag="tool"
):
    """What a tool gave to the call of this id."""

    content: Content
    tool_call_id: str


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage


def plain(messages: list[Message]) -> list[dict[str, Any]]:
    """The messages for a chat template; ApiError 400 names what cannot be one.

    A tool's result must answer a call that a message before it made, by its id.
    """
    called: set[str] = set()
    made = []
    for index, message in enumerate(messages):
        field = f"messages[{index}]"
        if isinstance(message, AssistantMessage):
            made.append(_answer(message, field))
            called |= {call.id for call in message.tool_calls or ()}
        elif isinstance(message, ToolMessage):
            if message.tool_call_id not in called:
                raise ApiError(
                    400,
                    f"{field}.tool_call_id: no message before it made a call of this id",
                    param=f"{field}.tool_call_id",
                )
            text = _text(message.content)
            made.append({"role": "tool", "content": text, "tool_call_id": message.tool_call_id})
        else:
            role = "user" if isinstance(message, UserMessage) else "system"
            made.append({"role": role, "content": _text(message.content), **_named(message.name)})
    return made


def _answer(message: AssistantMessage, field: str) -> dict[str, Any]:
    """An answer; templates read a call's arguments as an object, not as its JSON text."""
    if message.content is None and not message.tool_calls:
        raise ApiError(400, f"{field}: give content or tool_calls", param=f"{field}.content")
    answer: dict[str, Any] = {
        "role": "assistant",
        "content": _text(message.content or ""),
        **_named(message.name),
    }
    if message.tool_calls:
        answer["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.function.name,
                    "arguments": _arguments(
                        call.function.arguments, f"{field}.tool_calls[{at}].function.arguments"
                    ),
                },
            }
            for at, call in enumerate(message.tool_calls)
        ]
    return answer


def _arguments(text: str, field: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ApiError(400, f"{field}: not JSON: {error}", param=field) from error
    if not isinstance(found, dict):
        raise ApiError(400, f"{field}: not the JSON text of an object", param=field)
    return found


def _text(content: Content) -> str:
    """Parts are joined by line breaks."""
    return content if isinstance(content, str) else "\n".join(part.text for part in content)


def _named(name: str | None) -> dict[str, str]:
    return {"name": name} if name else {}
