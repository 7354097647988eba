"""A lock between processes; the kernel drops it when its holder dies, however it dies."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from nacelle_cluster.errors import ClusterError


@contextmanager
def locked(path: Path, purpose: str, seconds: float = 3600) -> Iterator[None]:
    """Holds the lock file `path` for a block, which may delete it; waits up to `seconds`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + seconds
    while True:
        with path.open("a") as file:
            if _taken(file) and _is_at(file, path):
                yield
                return
        if time.monotonic() > deadline:
            raise ClusterError(
                f"another process has been at {purpose} for {seconds:.0f} s (lock {path})"
            )
        time.sleep(0.1)


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether the open file is still the one at `path`: the last holder may have deleted it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
