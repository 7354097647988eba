"""The tools that a chat offers, and whether the answer may or must call one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from nacelle_runtime.frontends.openai.errors import ApiError
from nacelle_runtime.frontends.openai.formats import Name

# OpenAI's bound.
MOST_TOOLS = 128
# A function without parameters takes an empty object.
_NO_PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {},
    "additionalProperties": False,
}


class Function(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A function; `parameters` is the JSON schema of its arguments, an object.

    strict: calls that the model makes of its own accord are held to it too; forced ones always are.
    """

    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    @property
    def schema(self) -> dict[str, Any]:
        """The schema of the arguments."""
        return _NO_PARAMETERS if self.parameters is None else self.parameters


class Tool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tool; only functions are served."""

    type: Literal["function"]
    function: Function


class FunctionName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A function by its name."""

    name: Name


class NamedTool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The tool that is to be called."""

    type: Literal["function"]
    function: FunctionName


Tools = Annotated[list[Tool], msgspec.Meta(max_length=MOST_TOOLS)]
ToolChoice = Literal["none", "auto", "required"] | NamedTool


@dataclass(frozen=True)
class Offer:
    """What an answer may call (`auto`) or must call; `several` allows more calls than one.

    tools: as a chat template gets them; callable: the functions that may be called, by their
    place in the request's tools.
    """

    mode: Literal["auto", "required", "named"]
    tools: tuple[dict[str, Any], ...]
    callable: dict[int, Function]
    several: bool

    @property
    def forced(self) -> bool:
        """True when the answer is a call and nothing else."""
        return self.mode != "auto"

    @property
    def strict(self) -> bool:
        """True when arguments are to fit their schema though the model may choose."""
        return any(function.strict for function in self.callable.values())

    @property
    def names(self) -> frozenset[str]:
        """The names of the functions that may be called."""
        return frozenset(function.name for function in self.callable.values())


def offer(
    tools: Sequence[Tool] | None, choice: ToolChoice | None, parallel: bool | None
) -> Offer | None:
    """What a request's three fields offer; None: no tool is to be called.

    ApiError 400 names the field that is wrong.
    """
    if not tools:
        if isinstance(choice, NamedTool) or choice == "required":
            raise ApiError(400, "tool_choice needs tools", param="tool_choice")
        return None
    functions = {index: tool.function for index, tool in enumerate(tools)}
    _check(functions)
    if choice == "none":
        return None
    told = tuple(_told(function) for function in functions.values())
    if isinstance(choice, NamedTool):
        name = choice.function.name
        named = {at: function for at, function in functions.items() if function.name == name}
        if not named:
            raise ApiError(400, f"tool_choice: no tool has the name {name!r}", param="tool_choice")
        return Offer("named", told, named, several=False)
    return Offer(choice or "auto", told, functions, several=parallel is not False)


def _check(functions: dict[int, Function]) -> None:
    names: set[str] = set()
    for index, function in functions.items():
        if function.name in names:
            field = f"tools[{index}].function.name"
            raise ApiError(400, f"{field}: {function.name!r} is there already", param=field)
        names.add(function.name)
        if function.schema.get("type") != "object":
            field = f"tools[{index}].function.parameters"
            raise ApiError(400, f'{field}: a schema of "type": "object" is needed', param=field)


def _told(function: Function) -> dict[str, Any]:
    described = {"description": function.description} if function.description else {}
    inner = {"name": function.name, **described, "parameters": function.schema}
    return {"type": "function", "function": inner}
