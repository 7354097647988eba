"""The form that a grammar holds an answer to: calls as JSON, one or a list of them.

    call = {"name": NAME, "arguments": OBJECT}
    text = call | [call, call, ...]

The grammar (`openai/tool_grammar.py`) allows no other space, so the parts stand where they must.
"""

import re

from nacelle_runtime.frontends.tool_calls import CallPart, Said, begun

_HEAD = re.compile(r'(?:\[|, )?\{"name": "([A-Za-z0-9_-]+)", "arguments": ')
# What moves in or out of an object or a list, and what begins, ends or escapes within a string.
_SIGNS = re.compile(r'[{}\[\]"]|\\.|\\$', re.DOTALL)


class Forced:
    """Reads the calls as they are written; nothing of the text is content.

    named: the client named the function, so that an answer ends with `stop`, as OpenAI's does.
    """

    def __init__(self, *, named: bool) -> None:
        self._named = named
        self._held = ""
        self._calls = 0
        self._object: _Object | None = None

    def add(self, text: str) -> Said:
        """The parts of calls that the text brings."""
        self._held += text
        found: list[CallPart] = []
        while self._step(found):
            pass
        return Said(calls=tuple(found))

    def rest(self) -> Said:
        """Nothing: what is held is never a part of arguments."""
        return Said()

    def finish(self, reason: str) -> str:
        """`tool_calls` where the answer is complete and no function was named."""
        complete = self._calls > 0 and self._object is None
        return "tool_calls" if reason == "stop" and complete and not self._named else reason

    def _step(self, found: list[CallPart]) -> bool:
        """Read a head, or more of an object; false when more text is needed."""
        if self._object is None:
            head = _HEAD.search(self._held)
            if head is None:
                return False
            found.append(begun(self._calls, head[1]))
            self._calls += 1
            self._object = _Object()
            self._held = self._held[head.end() :]
        taken = self._object.take(self._held)
        if taken:
            found.append(CallPart(self._calls - 1, self._held[:taken]))
        self._held = self._held[taken:]
        if not self._object.ended:
            return False
        self._object = None
        return True


class _Object:
    """Where a JSON object ends, as its text comes."""

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = False
        self.ended = False

    def take(self, text: str) -> int:
        """How many characters of the text belong to it; an escape is not cut in two."""
        for sign in _SIGNS.finditer(text):
            if sign[0] == "\\":
                return sign.start()
            if sign[0] == '"':
                self._quoted = not self._quoted
            elif not self._quoted and sign[0] in "{[":
                self._depth += 1
            elif not self._quoted and sign[0] in "}]":
                self._depth -= 1
                if self._depth == 0:
                    self.ended = True
                    return sign.end()
        return len(text)
