"""Requests that found nobody: what an autoscaler wakes a sleeping deployment by."""

from collections.abc import Callable
from typing import Final

MEMORY_SECONDS: Final = 60.0
"""How long one is told of: some of an autoscaler's looks, should one of them fail."""


class Knocks:
    """Remembers when the last one came; safe for threads, as it keeps a single number."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = float("-inf")

    def count(self) -> None:
        """One came now."""
        self._last = self._clock()

    @property
    def waiting(self) -> int:
        """1 if one came of late, else 0: the first pod is one, however many knock."""
        return int(self._clock() - self._last < MEMORY_SECONDS)
