"""What keeps the cache true: watch events as they come, and live lists at start and every while."""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from typing import Any

from nacelle_operator.cache import ObjectCache, trim
from nacelle_operator.cluster import Cluster, Listing
from nacelle_operator.errors import OperatorError
from nacelle_operator.kinds import CHILDREN, RESOURCES, Kind
from nacelle_operator.metrics import Metrics
from nacelle_operator.objects.names import FIELD_MANAGER, MANAGED_BY
from nacelle_operator.queue import Key
from nacelle_operator.routing import affected, taken_in

RESYNC_SECONDS = 600.0
# After a watch has begun. It begins with a list of its own, which does not tell what went between
# ours and its: the first look is soon, the second is for a watch that takes long to begin.
SOON_SECONDS = (15.0, 60.0)
CHILD_SELECTOR = f"{MANAGED_BY}={FIELD_MANAGER}"
_LIST_RETRY_SECONDS = 5.0
_log = logging.getLogger(__name__)


class Feed:
    """Takes in events and lists, and wakes whom they concern."""

    def __init__(
        self,
        cache: ObjectCache,
        cluster: Cluster,
        wake: Callable[[Key], None],
        *,
        namespaces: tuple[str, ...],
        metrics: Metrics,
    ) -> None:
        self._cache = cache
        self._cluster = cluster
        self._wake = wake
        self._namespaces: tuple[str | None, ...] = namespaces or (None,)
        self._metrics = metrics
        self.synced = False

    def take_in(self, kind: Kind, event: str | None, manifest: Mapping[str, Any]) -> None:
        """One watch event: ADDED, MODIFIED, DELETED, or None for what a watch began with."""
        self._metrics.events.labels(kind.name).inc()
        if event != "DELETED":
            for key in taken_in(self._cache, kind, manifest):
                self._wake(key)
            return
        meta = manifest["metadata"]
        before = self._cache.get(kind, meta.get("namespace", ""), meta["name"])
        self._cache.remove(kind, manifest)
        self._wake_affected(kind, before, manifest)

    async def sync(self) -> None:
        """List everything live and wake every resource; tries until it is done."""
        await self._list_all()
        for kind in RESOURCES:
            for resource in self._cache.select(kind):
                self._wake_affected(kind, None, resource)
        self.synced = True

    async def resync(self) -> None:
        """Look for what a watch that has just begun cannot tell; then sync again and again, so that
        one that died in silence costs minutes, not days.
        """
        for pause in SOON_SECONDS:
            await asyncio.sleep(pause)
            await self._list_all()
        while True:
            await asyncio.sleep(RESYNC_SECONDS * random.uniform(0.9, 1.1))
            await self.sync()

    async def _list_all(self) -> None:
        """List everything live, and wake whom a difference to what was known concerns."""
        for kind in (*RESOURCES, *CHILDREN):
            for namespace in self._namespaces:
                await self._list_kind(kind, namespace)

    async def _list_kind(self, kind: Kind, namespace: str | None) -> None:
        selector = "" if kind in RESOURCES else CHILD_SELECTOR
        listing = await self._list(kind, namespace, selector)
        before = {m["metadata"]["uid"]: m for m in self._cache.select(kind, namespace)}
        for manifest in self._cache.replace(kind, listing.items, listing.version, namespace):
            self._wake_affected(kind, None, manifest)
        for manifest in self._cache.select(kind, namespace):
            known = before.get(manifest["metadata"]["uid"])
            if known is not manifest:
                self._wake_affected(kind, known, manifest)

    async def _list(self, kind: Kind, namespace: str | None, selector: str) -> Listing:
        while True:
            try:
                return await asyncio.to_thread(
                    self._cluster.list, kind, namespace, selector, keep=trim
                )
            except OperatorError as error:
                _log.warning("%s cannot be listed yet: %s", kind.plural, error)
                await asyncio.sleep(_LIST_RETRY_SECONDS)

    def _wake_affected(
        self, kind: Kind, before: Mapping[str, Any] | None, manifest: Mapping[str, Any]
    ) -> None:
        keys = set(affected(self._cache, kind, manifest))
        if before is not None:
            keys.update(affected(self._cache, kind, before))
        for key in keys:
            self._wake(key)
