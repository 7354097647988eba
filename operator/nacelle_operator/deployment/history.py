"""The revisions there are: the newest one, and the one that serves if that fails."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from nacelle_operator.objects import memory
from nacelle_operator.objects.controller_revision import Revision, read_revision


@dataclass(frozen=True)
class History:
    """All revisions that are kept, newest first."""

    revisions: tuple[Revision, ...] = ()

    @classmethod
    def read(cls, manifests: Iterable[Mapping[str, Any]]) -> Self:
        """The history that these ControllerRevisions keep."""
        found = map(read_revision, manifests)
        return cls(tuple(sorted(found, key=lambda revision: -revision.number)))

    @property
    def newest(self) -> Revision | None:
        """The revision that was made last, whatever became of it."""
        return self.revisions[0] if self.revisions else None

    @property
    def stable(self) -> Revision | None:
        """The last one that has proved itself."""
        return next((r for r in self.revisions if r.memory.outcome == memory.SERVING), None)

    @property
    def current(self) -> Revision | None:
        """The newest one that is still wanted or serves; without any, simply the newest."""
        alive = (memory.ROLLING_OUT, memory.SERVING)
        found = next((r for r in self.revisions if r.memory.outcome in alive), None)
        return found or self.newest

    def numbered(self, number: int) -> Revision | None:
        """The revision of that number, if it is kept."""
        return next((r for r in self.revisions if r.number == number), None)
