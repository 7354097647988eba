"""Requests that wait for their grammar; those without one never come here."""

import logging
import time
from collections.abc import Iterable
from concurrent.futures import Future
from typing import NamedTuple

from nacelle_runtime.request import RequestId
from nacelle_runtime.structured.compiler import Answering, Compiler
from nacelle_runtime.structured.grammar import GrammarRefused
from nacelle_runtime.wire import Submit

# Seconds from a request's coming until it is refused: others' grammars may be before its own.
DEADLINE = 10.0


class Compiled(NamedTuple):
    """A request whose grammar is ready, or a sentence that says why there can be none."""

    connection: int
    submit: Submit
    matcher: Answering | None
    refusal: str = ""


class _Pending(NamedTuple):
    submit: Submit
    future: "Future[Answering]"
    until: float


class Compiling:
    """What the compiler's thread has before it, by request."""

    def __init__(self, compiler: Compiler) -> None:
        self._compiler = compiler
        self._pending: dict[RequestId, _Pending] = {}

    def __bool__(self) -> bool:
        return bool(self._pending)

    @property
    def requests(self) -> list[RequestId]:
        """The requests that wait."""
        return list(self._pending)

    def add(self, connection: int, submit: Submit, grammar: str) -> None:
        """A request with a grammar has come."""
        future = self._compiler.matcher(grammar)
        until = time.monotonic() + DEADLINE
        self._pending[connection, submit.number] = _Pending(submit, future, until)

    def cancel(self, requests: Iterable[RequestId]) -> None:
        """Nobody waits for these any more."""
        for name in requests:
            pending = self._pending.pop(name, None)
            if pending is not None:
                pending.future.cancel()

    def take(self) -> list[Compiled]:
        """The requests that need to wait no more, in the order of their coming."""
        now, found = time.monotonic(), []
        for name, pending in list(self._pending.items()):
            if pending.future.done():
                found.append(_compiled(name[0], pending))
            elif now > pending.until:
                why = f"the grammar was not compiled within {DEADLINE:g} s"
                found.append(Compiled(name[0], pending.submit, None, why))
            else:
                continue
            self.cancel([name])
        return found


def _compiled(connection: int, pending: _Pending) -> Compiled:
    try:
        return Compiled(connection, pending.submit, pending.future.result())
    except GrammarRefused as error:
        return Compiled(connection, pending.submit, None, f"the grammar cannot be used: {error}")
    except Exception as error:  # one request's grammar must not end the core
        logging.getLogger("nacelle").error("a grammar was not compiled", exc_info=error)
        return Compiled(connection, pending.submit, None, "the grammar could not be compiled")
