"""The newest progress of running pods, each pod's log read at most once every few seconds."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from nacelle_engine.progress import Progress, last_progress
from nacelle_operator.errors import OperatorError

INTERVAL_SECONDS = 4.5
_REMEMBERED = 1024


class LogDoor(Protocol):
    """What is needed of the API server."""

    def log_tail(self, namespace: str, pod: str, container: str) -> str:
        """The last lines of a container's log."""


class ProgressReader:
    """Reads the tail of builder pods' logs; a log that cannot be read now changes nothing."""

    def __init__(self, door: LogDoor, clock: Callable[[], float]) -> None:
        self._door = door
        self._clock = clock
        self._known: dict[str, tuple[float, Progress | None]] = {}

    async def latest(self, namespace: str, pod: str, uid: str, container: str) -> Progress | None:
        """The pod's newest progress, or None before its first line."""
        read_at, progress = self._known.get(uid, (float("-inf"), None))
        if self._clock() - read_at < INTERVAL_SECONDS:
            return progress
        try:
            log = await asyncio.to_thread(self._door.log_tail, namespace, pod, container)
        except OperatorError:
            log = ""
        progress = last_progress(log) or progress
        self._known.pop(uid, None)
        self._known[uid] = (self._clock(), progress)
        while len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]
        return progress
