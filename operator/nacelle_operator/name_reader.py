"""An object of a given name, read live: one that is not ours bears no label to watch."""

import asyncio
from typing import Any, Protocol

from nacelle_operator.errors import NotFound
from nacelle_operator.kinds import Kind


class Door(Protocol):
    """What is needed of the API server."""

    def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        """One object, live."""


class NameReader:
    """Looks whether a name is taken."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def read(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        """The object of that kind and name, whoever made it; None when there is none."""
        try:
            return await asyncio.to_thread(self._door.get, kind, namespace, name)
        except NotFound:
            return None
