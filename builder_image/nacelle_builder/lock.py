"""One process at a time: an advisory lock on a file, with a deadline."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nacelle_engine.errors import StoreUnavailable

DEADLINE_SECONDS = 3600.0
_POLL_SECONDS = 0.5


@contextmanager
def exclusive(
    path: Path,
    deadline: float = DEADLINE_SECONDS,
    on_wait: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Hold the lock file; StoreUnavailable when another process held it for `deadline` seconds.

    The kernel frees the lock of a killed process, so none is ever left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + deadline
    waited = False
    while (descriptor := _try_lock(path)) is None:
        if not waited:
            on_wait()
            waited = True
        if time.monotonic() > until:
            raise StoreUnavailable(f"another process has held {path} for {deadline:.0f} s")
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)


def _try_lock(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The holder before may have removed the file between our open and our lock.
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None
