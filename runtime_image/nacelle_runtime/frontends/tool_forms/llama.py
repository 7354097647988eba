"""The form of Llama 3: an answer that is a call is one JSON object and nothing else.

{"name": NAME, "parameters": OBJECT}
"""

import re
from collections.abc import Set
from typing import ClassVar

from nacelle_runtime.frontends.tool_calls import Said, begun
from nacelle_runtime.frontends.tool_forms.written import written

_PROBE = re.compile(r'\{[^{}]*"name": ?"probe"[^{}]*\{[^{}]*\}\s*\}')


class Llama:
    """Reads an answer in this form: one that begins with a brace is held back to its end.

    What is no call of a function in `names` stays text.
    """

    ARGUMENTS: ClassVar[str] = "parameters"
    # A text that begins with a brace must be a call; \x1c to \x1f are space to Python only.
    FRAME: ClassVar[str] = r"""
start: TEXT | SPACE @calls SPACE
TEXT: /\s*([^\s{\x1c-\x1f](?s:.*))?/
SPACE: /[ \n\r\t]{0,4}/
"""

    def __init__(self, names: Set[str], *, several: bool) -> None:
        # The form has room for one call only.
        del several
        self._names = names
        self._held = ""
        self._plain = False
        self._called = False

    @staticmethod
    def fits(rendered: str) -> bool:
        """Whether a rendered call of `probe` has this form."""
        return any(written(found, Llama.ARGUMENTS) for found in _PROBE.findall(rendered))

    def add(self, text: str) -> Said:
        """The text, unless the answer may be a call."""
        if self._plain:
            return Said(text)
        self._held += text
        begin = self._held.lstrip()
        if not begin or begin.startswith("{"):
            return Said()
        self._plain = True
        return Said(self._held)

    def rest(self) -> Said:
        """The call, or what was held back."""
        if self._plain:
            return Said()
        call = written(self._held, self.ARGUMENTS)
        if call is None or call.name not in self._names:
            return Said(self._held)
        self._called = True
        return Said(calls=(begun(0, call.name, call.arguments),))

    def finish(self, reason: str) -> str:
        """`tool_calls` where there was one."""
        return "tool_calls" if reason == "stop" and self._called else reason
