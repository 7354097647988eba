"""An object of a kind that a cluster may not know, which cannot be watched: read live."""

import asyncio
from typing import Any, Protocol

from nacelle_operator.errors import NotFound
from nacelle_operator.kinds import Kind
from nacelle_operator.objects.names import DEPLOYMENT
from nacelle_operator.seen import Seen


class Door(Protocol):
    """What is needed of the API server."""

    def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        """One object, live."""

    def list(self, kind: Kind, namespace: str, selector: str) -> Any:
        """Objects that carry a label, live."""


class UnwatchedReader:
    """Looks whether there is the kind, and whether a name is taken."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def read(self, kind: Kind, namespace: str, name: str) -> Seen:
        """The object of that kind and name."""
        try:
            return Seen(True, await asyncio.to_thread(self._door.get, kind, namespace, name))
        except NotFound:
            pass
        # The same answer means two things: a list of none is told from a kind that is not there.
        selector = f"{DEPLOYMENT}={name}"
        try:
            await asyncio.to_thread(self._door.list, kind, namespace, selector)
        except NotFound:
            return Seen(False)
        return Seen(True)
