"""A model's chat template, rendered in Jinja's sandbox: it comes with the model, it is not ours."""

import functools
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from nacelle_engine.errors import CorruptBundle

_QUESTION: Final = {"role": "user", "content": "?"}
_CALL: Final = {
    "id": "000000000",
    "type": "function",
    "function": {"name": "probe", "arguments": {"count": 1}},
}
# A question and an answer that calls a tool: what a template makes of them shows its form.
PROBE: Final[Sequence[Mapping[str, Any]]] = (
    _QUESTION,
    {"role": "assistant", "content": "", "tool_calls": [_CALL]},
)
PROBE_TOOLS: Final[Sequence[Mapping[str, Any]]] = (
    {
        "type": "function",
        "function": {
            "name": "probe",
            "description": "?",
            "parameters": {"type": "object", "properties": {"count": {"type": "integer"}}},
        },
    },
)


class TemplateRefused(Exception):
    """The template does not accept these messages."""


class ChatTemplate:
    """Messages to the text that the model was trained on."""

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = _strftime_now
        self._special_tokens = dict(special_tokens)
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise CorruptBundle(f"the chat template cannot be read: {error}") from error

    def render(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()
    ) -> str:
        """The prompt that asks for the assistant's next turn; TemplateRefused says why not."""
        try:
            return self._template.render(
                messages=messages,
                tools=list(tools) or None,
                add_generation_prompt=True,
                **self._special_tokens,
            )
        except (TemplateError, TypeError, ValueError, KeyError, RecursionError) as error:
            raise TemplateRefused(f"the model's chat template refuses: {error}") from error

    @functools.cached_property
    def takes_tools(self) -> bool:
        """True when tools change the prompt."""
        try:
            return self.render([_QUESTION]) != self.render([_QUESTION], PROBE_TOOLS)
        except TemplateRefused:
            return False

    @functools.cached_property
    def takes_several_calls(self) -> bool:
        """True unless one call in an answer is taken, and two are refused."""
        two = {**PROBE[1], "tool_calls": [_CALL, {**_CALL, "id": "000000001"}]}
        try:
            self.render(PROBE, PROBE_TOOLS)
            self.render([_QUESTION, two], PROBE_TOOLS)
        except TemplateRefused:
            return False
        return True


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().astimezone().strftime(form)


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
