"""An HTTPRoute of a given name, read live: a kind that a cluster may not know cannot be watched."""

import asyncio
from typing import Any, NamedTuple, Protocol

from nacelle_operator.errors import NotFound
from nacelle_operator.kinds import HTTP_ROUTE, Kind
from nacelle_operator.objects.names import DEPLOYMENT


class Door(Protocol):
    """What is needed of the API server."""

    def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        """One object, live."""

    def list(self, kind: Kind, namespace: str, selector: str) -> Any:
        """Objects that carry a label, live."""


class RouteSeen(NamedTuple):
    """Whether the cluster knows routes, and the one of that name, whoever made it."""

    is_known: bool
    route: dict[str, Any] | None = None


class RouteReader:
    """Looks whether there are routes, and whether a name is taken."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def read(self, namespace: str, name: str) -> RouteSeen:
        """The HTTPRoute of that name."""
        try:
            return RouteSeen(
                True, await asyncio.to_thread(self._door.get, HTTP_ROUTE, namespace, name)
            )
        except NotFound:
            pass
        # The same answer means two things: a list of none is told from a kind that is not there.
        selector = f"{DEPLOYMENT}={name}"
        try:
            await asyncio.to_thread(self._door.list, HTTP_ROUTE, namespace, selector)
        except NotFound:
            return RouteSeen(False)
        return RouteSeen(True)
