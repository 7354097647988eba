"""The tests that passed, by the key of all that their file's results depend on."""

import json
import os
import time
from collections.abc import Set
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

UNUSED_DAYS = 30


class ResultStore:
    """A folder with a file a key: the node ids of its tests that passed or were skipped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def passed(self, key: str) -> frozenset[str]:
        """Those kept under a key, none without it; it counts as used now."""
        path = self._folder / key
        try:
            kept = json.loads(path.read_text())
            os.utime(path)
        except (FileNotFoundError, json.JSONDecodeError):
            return frozenset()
        return frozenset(kept)

    def keep(self, key: str, tests: Set[str]) -> None:
        """Add tests to those under a key, at once or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("w", dir=self._folder, prefix=".", delete=False) as file:
            json.dump(sorted(self.passed(key) | tests), file)
        Path(file.name).replace(self._folder / key)

    def forget(self, key: str) -> None:
        """A test of it failed."""
        (self._folder / key).unlink(missing_ok=True)

    def delete_unused(self, now: float | None = None) -> None:
        """Delete what nobody asked for in UNUSED_DAYS days."""
        oldest = (time.time() if now is None else now) - UNUSED_DAYS * 86_400
        for path in self._folder.glob("*"):
            # Another run may be at it too.
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()
