"""Calls of tools in an answer's text, as they are read from it piece by piece."""

import secrets
import string
from dataclasses import dataclass
from typing import Protocol

# Mistral's chat templates take no other id than nine letters and digits; the others take any.
_SIGNS = string.ascii_letters + string.digits
_ID_LENGTH = 9


@dataclass(frozen=True)
class CallPart:
    """More of the call `index`: its id and name come first, with arguments or before them.

    arguments: a part of the JSON text of an object.
    """

    index: int
    arguments: str = ""
    id: str = ""
    name: str = ""


@dataclass(frozen=True)
class Said:
    """What more of a model's text says: content for the reader, and parts of calls."""

    content: str = ""
    calls: tuple[CallPart, ...] = ()

    def __add__(self, other: "Said") -> "Said":
        return Said(self.content + other.content, self.calls + other.calls)


class Reader(Protocol):
    """Reads one answer; what may still become a call, or a part of one, is held back."""

    def add(self, text: str) -> Said:
        """What is certain with more text."""
        ...

    def rest(self) -> Said:
        """What was held back, now that nothing follows."""
        ...

    def finish(self, reason: str) -> str:
        """Why the answer ended: `tool_calls` in the place of `stop` where tools were called."""
        ...


def begun(index: int, name: str, arguments: str = "") -> CallPart:
    """A new call, with an id of its own."""
    made = "".join(secrets.choice(_SIGNS) for _ in range(_ID_LENGTH))
    return CallPart(index, arguments, made, name)
