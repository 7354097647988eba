"""Drives a core at its socket: token ids in, token ids out, no frontend between."""

import secrets
import selectors
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from nacelle_bench.serve_figures import Engine, Run, Seen
from nacelle_bench.serve_load import Load
from nacelle_engine.errors import InvalidRequest, TemporaryError
from nacelle_runtime.request import Ending
from nacelle_runtime.wire import (
    AskStats,
    FrameSplitter,
    FromCore,
    Outputs,
    Ready,
    Stats,
    Submit,
    ToCore,
    decode_from_core,
    frame,
)

_READ = 1 << 18


class CoreDriver:
    """One connection to a core, read and written by one thread."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise InvalidRequest(f"{path}: no core listens there: {error.strerror}") from error
        self._splitter = FrameSplitter()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._sent = 0
        self.ready = self._greeting()

    def close(self) -> None:
        """End the connection."""
        self._selector.close()
        self._socket.close()

    def drive(self, load: Load) -> Run:
        """Send the load's requests when they are due, and take their answers in."""
        load.check(self.ready.input_len, self.ready.sequence_len)
        before, seen = self._account(), self._drive(load)
        return Run(load, seen, before, self._account())

    def _drive(self, load: Load) -> list[Seen]:
        prompts, times = list(load.prompts(self.ready.vocabulary)), list(load.times())
        seen: list[Seen] = []
        # A prefix cache of its own: no run finds the prompts of one before.
        salt = secrets.token_hex(8)
        first, running, start = self._sent, 0, time.monotonic()
        while len(seen) < load.requests or running:
            now = time.monotonic()
            while len(seen) < load.requests and running < load.most:
                if start + times[len(seen)] > now:
                    break
                self._submit(load, prompts[len(seen)], salt, now)
                seen.append(Seen(now))
                running += 1
            due = len(seen) < load.requests and running < load.most
            wait = max(start + times[len(seen)] - now, 0.0) if due else None
            for message in self._messages(wait):
                if isinstance(message, Outputs):
                    running -= _take(message, seen, first)
        return seen

    def _greeting(self) -> Ready:
        while True:
            for message in self._messages(None):
                if isinstance(message, Ready):
                    return message

    def _submit(self, load: Load, prompt: list[int], salt: str, now: float) -> None:
        ending = Ending(load.answer)
        self._send(Submit(self._sent, prompt, load.sampling, ending, 0, None, salt, now))
        self._sent += 1

    def _account(self) -> Engine:
        self._send(AskStats())
        while True:
            for message in self._messages(None):
                if isinstance(message, Stats):
                    steps = message.step_seconds
                    return Engine(
                        message.steps,
                        steps.total,
                        message.device_seconds,
                        message.device_idle_seconds,
                    )

    def _send(self, message: ToCore) -> None:
        self._socket.sendall(frame(message))

    def _messages(self, wait: float | None) -> Iterator[FromCore]:
        """What one read brings, within `wait` seconds; None: however long it takes."""
        if not self._selector.select(wait):
            return
        data = self._socket.recv(_READ)
        if not data:
            raise TemporaryError("the core has ended")
        yield from map(decode_from_core, self._splitter.feed(data))


def _take(message: Outputs, seen: list[Seen], first: int) -> int:
    """Note what came; gives how many requests ended with it."""
    now, ended = time.monotonic(), 0
    for output in message.outputs:
        one = seen[output.number - first]
        one.arrivals.append(now)
        one.tokens += 1
        ended += output.finish is not None
    for refused in message.refused:
        seen[refused.number - first].failure = refused.message
        ended += 1
    return ended
