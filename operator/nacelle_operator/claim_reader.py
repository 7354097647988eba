"""Claims that builds name, read live now and then: they are not watched, as most are not ours."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from nacelle_operator.build.observed import Claim
from nacelle_operator.errors import NotFound
from nacelle_operator.kinds import CLAIM, Kind

# A missing claim is waited for; one that exists keeps its access modes.
MISSING_SECONDS = 8.0
EXISTING_SECONDS = 300.0


class ClaimDoor(Protocol):
    """What is needed of the API server."""

    def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        """One object, live."""


class ClaimReader:
    """What is known of a claim, read again after some seconds."""

    def __init__(self, door: ClaimDoor, clock: Callable[[], float]) -> None:
        self._door = door
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[float, Claim]] = {}

    async def read(self, namespace: str, name: str) -> Claim:
        """The claim, which may not exist."""
        known = self._known.get((namespace, name))
        if known:
            read_at, claim = known
            lasts = EXISTING_SECONDS if claim.exists else MISSING_SECONDS
            if self._clock() - read_at < lasts:
                return claim
        try:
            manifest = await asyncio.to_thread(self._door.get, CLAIM, namespace, name)
            claim = Claim(name, True, tuple(manifest["spec"].get("accessModes", ())))
        except NotFound:
            claim = Claim(name, False)
        self._known[namespace, name] = (self._clock(), claim)
        return claim
