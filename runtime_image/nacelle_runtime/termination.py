"""The last word of a serving process: a Result in the pod's termination message."""

import contextlib
from pathlib import Path

from nacelle_engine.result import Failure, Result


def leave_failure(log: str | None, error: BaseException) -> None:
    """Write why the process ends; a log that cannot be written changes nothing about the end."""
    if log is not None:
        with contextlib.suppress(OSError):
            Path(log).write_text(Result(failure=Failure.of(error, "serve")).message())
