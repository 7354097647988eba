"""The form of Hermes and Qwen: text, and calls between markers.

text <tool_call>{"name": NAME, "arguments": OBJECT}</tool_call> <tool_call>...</tool_call>
"""

import re
from collections.abc import Set
from typing import ClassVar

from nacelle_runtime.frontends.stop_strings import StopStrings
from nacelle_runtime.frontends.tool_calls import Said, begun
from nacelle_runtime.frontends.tool_forms.written import written

_BEGIN = "<tool_call>"
_END = "</tool_call>"


class Hermes:
    """Reads an answer in this form; space around a call belongs to nobody.

    A call is given when it is whole. What is no call of a function in `names` stays text, markers
    and all. Where not `several`, the first call counts and the others are left out.
    """

    ARGUMENTS: ClassVar[str] = "arguments"
    # Any text; from the marker on it must be a call.
    FRAME: ClassVar[str] = rf"""
start: call* TEXT
call: begin SPACE @calls SPACE "{_END}"
begin[lazy]: TEXT "{_BEGIN}"
TEXT: /(?s:.*)/
SPACE: /[ \n\r\t]{{0,4}}/
"""

    def __init__(self, names: Set[str], *, several: bool) -> None:
        self._names = names
        self._several = several
        self._calls = 0
        self._space = ""
        self._body: str | None = None
        self._watch = StopStrings((_BEGIN,))

    @staticmethod
    def fits(rendered: str) -> bool:
        """Whether a rendered call of `probe` has this form."""
        found = re.findall(f"{_BEGIN}(.*?){_END}", rendered, re.DOTALL)
        calls = [written(text, Hermes.ARGUMENTS) for text in found]
        return any(call is not None and call.name == "probe" for call in calls)

    def add(self, text: str) -> Said:
        """The content and the calls that are certain."""
        said = Said()
        while True:
            shown = self._watch.add(text)
            if self._body is None:
                said += self._content(shown)
            else:
                self._body += shown
            if not self._watch.found:
                return said
            text = self._watch.after
            if self._body is None:
                self._body, self._watch = "", StopStrings((_END,))
            else:
                said += self._call(self._body)
                self._body, self._watch = None, StopStrings((_BEGIN,))

    def rest(self) -> Said:
        """A call that was never closed is one all the same when it is whole."""
        held = self._watch.rest()
        if self._body is None:
            said = self._content(held)
            return said if self._calls else said + Said(self._space)
        return self._call(self._body + held, closed=False)

    def finish(self, reason: str) -> str:
        """`tool_calls` where there was one."""
        return "tool_calls" if reason == "stop" and self._calls else reason

    def _content(self, text: str) -> Said:
        """The text up to its last space, which may be what stands before a call."""
        text = self._space + text
        shown = text.rstrip()
        self._space = text[len(shown) :]
        return Said(shown)

    def _call(self, body: str, *, closed: bool = True) -> Said:
        call = written(body, self.ARGUMENTS)
        if call is None or call.name not in self._names:
            space, self._space = self._space, ""
            return Said(space + _BEGIN + body + (_END if closed else ""))
        self._space = ""
        self._calls += 1
        if self._calls > 1 and not self._several:
            return Said()
        return Said(calls=(begun(self._calls - 1, call.name, call.arguments),))
