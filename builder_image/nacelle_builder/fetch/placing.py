"""Puts a model's folder in its place: filled beside it, checked, then renamed, all or nothing."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from nacelle_builder.durable import write_durably
from nacelle_builder.fetch.sums import Sums, verify_sums
from nacelle_builder.lock import exclusive
from nacelle_builder.source.files import find_checkpoint
from nacelle_builder.source.tensors import index_tensors
from nacelle_engine.errors import InvalidModel, InvalidRequest

Fill = Callable[[Path], None]
Check = Callable[[Path], Sums]


def place(destination: Path, source: str, fill: Fill, check: Check | None = None) -> bool:
    """Have `fill` make the model in a folder and move that to `destination` once `check` holds.

    check: by default `check_whole`.

    False when the destination already holds just this source, every digest matching. A partial
    folder of a killed attempt at the same source is handed to `fill` again, which may resume from
    it; one of another source's files would become part of this model.
    """
    destination = destination.absolute()
    if _holds(destination, source):
        return False
    partial = destination.with_name(f".{destination.name}.partial")
    begun = destination.with_name(f".{destination.name}.source")
    with exclusive(destination.with_name(f".{destination.name}.lock")):
        if _holds(destination, source):
            return False
        _begin(partial, begun, source)
        fill(partial)
        (check or check_whole)(partial)
        _open_to_all(partial)
        if destination.is_dir():  # empty, or _holds would have refused it
            destination.rmdir()
        partial.rename(destination)
        begun.unlink()
    return True


def _begin(partial: Path, begun: Path, source: str) -> None:
    """Have a partial folder that holds nothing but what was made of the source."""
    if not begun.is_file() or begun.read_text() != source:
        if partial.exists():
            shutil.rmtree(partial)
        write_durably(begun, source.encode())
    partial.mkdir(exist_ok=True)


def check_whole(folder: Path) -> Sums:
    """Check digests, the needed files and every tensor file's header."""
    sums = verify_sums(folder)
    index_tensors(find_checkpoint(folder).weights)
    return sums


def _holds(destination: Path, source: str) -> bool:
    if not destination.exists() or (destination.is_dir() and not any(destination.iterdir())):
        return False
    try:
        found = verify_sums(destination).source
    except InvalidModel as error:
        raise InvalidRequest(
            f"{destination} exists and holds no whole model ({error}): remove it, "
            "or name another folder"
        ) from error
    if found != source:
        raise InvalidRequest(f"{destination} holds {found}, not {source}: name another folder")
    return True


def _open_to_all(folder: Path) -> None:
    """Let pods of any user id read the files, and make them durable before the rename."""
    folder.chmod(0o755)
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
            continue
        path.chmod(0o644)
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
