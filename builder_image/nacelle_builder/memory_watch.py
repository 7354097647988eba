"""The most memory that a build's processes hold together, by looking every second.

The kernel's own high-water marks do not tell: that of a child begins with its parent's.
"""

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from nacelle_builder.children import family

_EVERY_SECONDS: Final = 1.0
_PROC: Final = Path("/proc")


class MemoryWatch:
    """Within `with`, a thread looks at this process and at all that it started."""

    def __init__(self, every: float = _EVERY_SECONDS) -> None:
        self._every, self._peak = every, 0
        self._ended, self._writing = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._look_on, name="memory-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def peak_mib(self) -> int:
        """The most so far, in MiB; 0 where the kernel does not tell."""
        self._look()
        return -(-self._peak // 2**20)

    def _look_on(self) -> None:
        while not self._ended.wait(self._every):
            self._look()

    def _look(self) -> None:
        held = held_bytes(os.getpid())
        with self._writing:
            self._peak = max(self._peak, held)


def held_bytes(process: int) -> int:
    """Bytes that a process and its descendants hold: their proportional set sizes.

    A page that several processes share counts as its part in each (proc_pid_smaps(5)).
    """
    return sum(map(_proportional_bytes, family(process)))


def _proportional_bytes(process: int) -> int:
    try:
        lines = (_PROC / str(process) / "smaps_rollup").read_text().splitlines()
    except OSError:  # ended meanwhile, or not ours to see
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
