"""An engine at its place in the store, which another process may be about to delete."""

from pathlib import Path

from nacelle_engine.bundle import MANIFEST, Bundle, read_bundle
from nacelle_engine.errors import StoreUnavailable


def read_published(place: Path) -> Bundle:
    """The bundle there; CorruptBundle when it is damaged, StoreUnavailable while it is deleted.

    A deletion takes the manifest first, a publication brings it with all the rest: a folder without
    one was an engine, and is soon gone.
    """
    if not (place / MANIFEST).exists():
        raise StoreUnavailable(
            f"{place} has no {MANIFEST}: it is being deleted; delete it yourself if it stays"
        )
    return read_bundle(place)
