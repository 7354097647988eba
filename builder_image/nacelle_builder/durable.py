"""Files that survive a power cut: written whole beside their place, synced, renamed."""

import os
import secrets
import shutil
from pathlib import Path
from typing import IO, Any


def write_durably(path: Path, data: bytes) -> None:
    """Replace a file's content in one step: readers see the old bytes or all the new ones."""
    # Not named after this process: builds that share a store run in pods, where all have one id.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            sync(file)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync(file: IO[Any]) -> None:
    """Have an open file's bytes reach the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_tree(root: Path) -> None:
    """Have every file below a folder reach the disk."""
    for path in root.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def link_or_copy(source: Path, destination: Path) -> None:
    """Give a finished file a second place: without a second copy where the disk can."""
    try:
        destination.hardlink_to(source)
    except OSError:  # not every network file system links
        shutil.copyfile(source, destination)
