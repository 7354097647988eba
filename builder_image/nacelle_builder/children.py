"""The processes that this one has started, and those that they have: compilers, most of all."""

import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_PR_SET_CHILD_SUBREAPER: Final = 36  # prctl(2)
_EVERY_SECONDS: Final = 0.1
_PATIENCE_SECONDS: Final = 1.0


def family(process: int) -> Iterator[int]:
    """A process and all its descendants."""
    parents = dict(_parents())
    found = {process}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    yield from found


def end_children() -> None:
    """End them from now on, from a thread beside, until this process has ended itself.

    Who waits for a compiler, or has others in a queue, would keep this process for minutes.
    """
    # A compiler that ends before its own children leaves them, with our pipes, to us.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    threading.Thread(target=_end_on, name="end-children", daemon=True).start()


def _end_on() -> None:
    began, own = time.monotonic(), os.getpid()
    while True:
        # Compilers remove their own files when they are asked to end.
        asked = time.monotonic() - began < _PATIENCE_SECONDS
        for child in family(own):
            if child != own:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(child, signal.SIGTERM if asked else signal.SIGKILL)
        time.sleep(_EVERY_SECONDS)


def _parents() -> Iterator[tuple[int, int]]:
    """(process, its parent) of all; field 4 of stat, after a name that may hold anything."""
    for folder in _PROC.iterdir():
        if folder.name.isdecimal():
            try:
                fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            except OSError:  # ended meanwhile
                continue
            yield int(folder.name), int(fields[1])
