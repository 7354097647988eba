"""The store's work folders: one a request, used by one attempt at a time, gone when it is done."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nacelle_builder.lock import exclusive
from nacelle_builder.pipeline import Marker
from nacelle_engine.errors import StoreUnavailable

SOURCE_MARKER = "source.done.json"


@contextmanager
def hold(work: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Keep other attempts at the same request waiting; they then find the engine published."""
    with exclusive(_lock(work), on_wait=on_wait):
        yield


def sweep(store: Path) -> None:
    """Remove what builds left behind whose engine is published and that nobody works on."""
    for marker in sorted((store / "work").glob(f"*/{SOURCE_MARKER}")):
        if not _is_done(store, marker):
            continue
        # Held while it goes: another attempt at the same request may begin at this moment.
        with suppress(StoreUnavailable), exclusive(_lock(marker.parent), deadline=0):
            if _is_done(store, marker):
                remove(marker.parent)


def remove(work: Path) -> None:
    """Remove a work folder whose engine is published.

    The marker goes last: by it a later build finds the rest, should this one be killed on the way.
    """
    for path in work.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != SOURCE_MARKER:
            with suppress(OSError):
                path.unlink()
    shutil.rmtree(work, ignore_errors=True)


def _is_done(store: Path, marker: Path) -> bool:
    try:
        key = Marker.model_validate_json(marker.read_bytes()).facts.engine_key
    except (OSError, ValueError):
        return False
    # A build that only prepared has no key yet, and its work is another one's to go on from.
    return bool(key) and (store / "engines" / key).is_dir()


def _lock(work: Path) -> Path:
    return work.with_name(f"{work.name}.lock")
