"""Folders that tests keep: each made by one process, at once or not at all."""

import shutil
from collections.abc import Callable
from pathlib import Path

from kept import kept

from nacelle_cluster.lock import locked


def kept_folder(kind: str, name: str, make: Callable[[Path], object]) -> Path:
    """The folder `name` of a kind; where it is not there, `make` fills it.

    Who comes meanwhile waits; what was broken off in its midst is begun anew.
    """
    folder = kept(kind) / name
    unfinished = folder.with_name(f".{name}")
    if not folder.is_dir():
        with locked(folder.with_name(f".{name}.lock"), f"making {folder}"):
            if not folder.is_dir():
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir()
                make(unfinished)
                unfinished.rename(folder)
    return folder
