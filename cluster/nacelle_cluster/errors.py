"""The one error of this package."""

from pathlib import Path


class ClusterError(Exception):
    """Something a user can act on: one line, and the end of a log where a program failed."""


def log_tail(path: Path, lines: int = 12) -> str:
    """The path of a log and its last lines, to be put under an error's first line."""
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return f"(no log at {path})"
    return "\n  ".join([f"last lines of {path}:", *text.splitlines()[-lines:]])
