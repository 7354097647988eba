"""The store's work folders: one a request, used by one attempt at a time, gone when it is done."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nacelle_builder.lock import exclusive, is_locked
from nacelle_builder.pipeline import Marker

SOURCE_MARKER = "source.done.json"


@contextmanager
def hold(work: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Keep other attempts at the same request waiting; they then find the engine published."""
    with exclusive(_lock(work), on_wait=on_wait):
        yield


def sweep(store: Path) -> None:
    """Remove what builds left behind whose engine is published and that nobody works on."""
    for marker in sorted((store / "work").glob(f"*/{SOURCE_MARKER}")):
        work = marker.parent
        try:
            key = Marker.model_validate_json(marker.read_bytes()).facts.engine_key
        except (OSError, ValueError):
            continue
        # A build that only prepared has no key yet, and its work is another one's to go on from.
        if key and (store / "engines" / key).is_dir() and not is_locked(_lock(work)):
            shutil.rmtree(work, ignore_errors=True)
            _lock(work).unlink(missing_ok=True)


def _lock(work: Path) -> Path:
    return work.with_name(f"{work.name}.lock")
