"""What the cache may lack, looked up before something is decided that cannot be taken back.

Each kind has a watch of its own, and none begins where the operator's first lists ended: a Job's
end may be known before its pods', a Job before the build that has just made it, an engine's last
user gone before its next one is known. The API server knows.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from nacelle_operator.cache import Keep, ObjectCache, trim
from nacelle_operator.errors import NotFound
from nacelle_operator.kinds import ENGINE_BUILD, INFERENCE_DEPLOYMENT, POD, Kind
from nacelle_operator.objects import names
from nacelle_operator.queue import Key
from nacelle_operator.routing import taken_in

Manifest = Mapping[str, Any]
# Of more objects than these a list is the quicker look.
_SINGLY = 3


class Listed(Protocol):
    """What a list gives."""

    @property
    def items(self) -> Iterable[Manifest]:
        """The objects."""


class Door(Protocol):
    """What is needed of the API server."""

    def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        """One object; NotFound when there is none."""

    def list(self, kind: Kind, namespace: str, selector: str = "", *, keep: Keep) -> Listed:
        """All objects that carry the labels; of each what `keep` gives."""


class LiveLook:
    """Puts into the cache what it lacks, and wakes whom that concerns; every look may end with an
    OperatorError.
    """

    def __init__(self, cache: ObjectCache, door: Door, wake: Callable[[Key], None]) -> None:
        self._cache = cache
        self._door = door
        self._wake = wake

    async def pods_of(self, jobs: Iterable[Manifest]) -> None:
        """Look for all pods of Jobs that have finished: they have ended before."""
        for job in jobs:
            meta = job["metadata"]
            await self._list(POD, meta["namespace"], f"{names.JOB_NAME}={meta['name']}")

    async def builds(self, namespace: str, wanted: Iterable[str]) -> bool:
        """Look for those of the builds that are not known; True when one is known since."""
        unknown = [n for n in wanted if self._cache.get(ENGINE_BUILD, namespace, n) is None]
        if len(unknown) > _SINGLY:
            await self._list(ENGINE_BUILD, namespace)
        else:
            for name in unknown:
                await self._get(ENGINE_BUILD, namespace, name)
        return any(self._cache.get(ENGINE_BUILD, namespace, name) for name in unknown)

    async def users_of_engines(self, namespace: str) -> None:
        """Look for all builds and deployments of a namespace."""
        for kind in (ENGINE_BUILD, INFERENCE_DEPLOYMENT):
            await self._list(kind, namespace)

    async def _get(self, kind: Kind, namespace: str, name: str) -> None:
        with contextlib.suppress(NotFound):
            self._take_in(kind, await asyncio.to_thread(self._door.get, kind, namespace, name))

    async def _list(self, kind: Kind, namespace: str, selector: str = "") -> None:
        listed = await asyncio.to_thread(self._door.list, kind, namespace, selector, keep=trim)
        for manifest in listed.items:
            self._take_in(kind, manifest)

    def _take_in(self, kind: Kind, manifest: Manifest) -> None:
        for key in taken_in(self._cache, kind, manifest):
            self._wake(key)
