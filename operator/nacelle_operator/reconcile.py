"""The loop: take a key, let its planner decide, carry the plan out, come back when it says."""

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from nacelle_operator.cache import ObjectCache
from nacelle_operator.cluster import Cluster
from nacelle_operator.errors import Conflict, NotFound, NotLeader, Refused, Retry, Throttled
from nacelle_operator.kinds import RESOURCES, kind_of
from nacelle_operator.metrics import Metrics
from nacelle_operator.objects.applied import marked
from nacelle_operator.objects.event import event_manifest
from nacelle_operator.plan import Deletion, Event, Patch, Plan
from nacelle_operator.queue import Key, KeyQueue
from nacelle_operator.routing import taken_in

Planner = Callable[[Key, datetime], Awaitable[Plan]]
Manifest = dict[str, Any]
_Answer = TypeVar("_Answer")
_KINDS = {kind.name: kind for kind in RESOURCES}
_DEPTH_SECONDS = 0.5
_log = logging.getLogger(__name__)


class Reconciler:
    """Runs reconciles of due keys, each kind's decisions made by its planner."""

    def __init__(
        self,
        queue: KeyQueue,
        cache: ObjectCache,
        cluster: Cluster,
        planners: Mapping[str, Planner],
        *,
        metrics: Metrics,
        identity: str,
    ) -> None:
        self._queue = queue
        self._cache = cache
        self._cluster = cluster
        self._planners = planners
        self._metrics = metrics
        self._identity = identity
        self._woken = asyncio.Event()
        # Set for good once all that was due at the start has been looked at.
        self.rested = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._depth_told = float("-inf")

    def wake(self, key: Key) -> None:
        """Ask for a reconcile soon."""
        self._queue.add(key)
        self._woken.set()

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while True:
                while (key := self._queue.take()) is not None:
                    task = asyncio.create_task(self._reconcile(key))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                self._tell_depth()
                if not self._queue.running:
                    self.rested.set()
                self._woken.clear()
                await _wait(self._woken, self._queue.wait())
        finally:
            for task in self._tasks:
                task.cancel()

    def _tell_depth(self) -> None:
        """Once all that is due has been taken; only now and then while keys wait to be counted."""
        now = time.monotonic()
        if not self._queue.is_full:
            self._metrics.queue_depth.set(0)
        elif now - self._depth_told >= _DEPTH_SECONDS:
            self._metrics.queue_depth.set(self._queue.depth)
            self._depth_told = now

    async def _reconcile(self, key: Key) -> None:
        started = time.monotonic()
        outcome = "failed"
        try:
            plan = await self._planners[key.kind](key, datetime.now(UTC))
            await self.carry_out(key, plan)
            self._queue.finish(key, plan.requeue_seconds)
            outcome = "done"
        except Throttled as error:
            outcome = self._retry(key, error, "retried", error.after)
        except Retry as error:
            outcome = self._retry(key, error, "retried")
        except (Refused, NotFound) as error:
            outcome = self._retry(key, error, "refused")
            await self._tell_refusal(key, error)
        except NotLeader as error:
            outcome = self._retry(key, error, "not-leader")
        except Exception as error:
            outcome = self._retry(key, error, "failed")
            _log.exception("%s %s/%s: a defect of the operator", *key)
        finally:
            self._metrics.reconciles.labels(key.kind, outcome).inc()
            self._metrics.seconds.labels(key.kind).observe(time.monotonic() - started)
            self._woken.set()

    def _retry(self, key: Key, error: Exception, outcome: str, at_least: float = 0.0) -> str:
        delay = self._queue.retry(key, at_least)
        _log.warning("%s %s/%s: %s; again in %.1f s", *key, error, delay)
        return outcome

    async def carry_out(self, key: Key, plan: Plan) -> None:
        """Write what a plan asks for, in its order; the status last but for the events."""
        if plan.uid and self._meant(key, plan) is None:
            return
        for manifest in plan.objects:
            await self._apply(manifest)
        for manifest in plan.creates:
            if self._known(manifest) is None:
                await self._create(dict(manifest))
        for patch in plan.patches:
            await self._patch(key.namespace, patch)
        for deletion in plan.deletes:
            await self._delete(key.namespace, deletion)
        resource = self._meant(key, plan)
        if resource is None:
            return
        if plan.status is not None and plan.status != resource.get("status"):
            await self._write_status(resource, plan.status)
        for event in plan.events:
            await self._tell(resource, event)

    def _meant(self, key: Key, plan: Plan) -> Manifest | None:
        """The resource that a plan was made for, as it is now; None when it is gone, whoever bears
        its name.
        """
        resource = self._cache.get(_KINDS[key.kind], key.namespace, key.name)
        return resource if resource and resource["metadata"]["uid"] == plan.uid else None

    async def _apply(self, wanted: Mapping[str, Any]) -> None:
        manifest = marked(wanted)
        if not is_contained(manifest, self._known(manifest)):
            self._keep(await self._call("apply", self._cluster.apply, manifest))

    async def _create(self, manifest: Manifest) -> None:
        try:
            self._keep(await self._call("create", self._cluster.create, manifest))
        except Conflict:
            # Made already, and the watch has not told us yet: its event brings us back.
            _log.info("%s %s exists already", manifest["kind"], manifest["metadata"]["name"])

    async def _patch(self, namespace: str, patch: Patch) -> None:
        kind = kind_of({"apiVersion": patch.api_version, "kind": patch.kind})
        known = self._cache.get(kind, namespace, patch.name)
        if known is None or is_contained(patch.fields, known):
            return
        try:
            call = functools.partial(
                self._cluster.merge, kind, namespace, patch.name, dict(patch.fields)
            )
            self._keep(await self._call("merge", call))
        except NotFound:
            _log.info("%s %s is gone: nothing to patch", patch.kind, patch.name)

    async def _delete(self, namespace: str, deletion: Deletion) -> None:
        kind = kind_of({"apiVersion": deletion.api_version, "kind": deletion.kind})
        known = self._cache.get(kind, namespace, deletion.name)
        if known is None or known["metadata"].get("deletionTimestamp"):
            return
        if deletion.uid is None or deletion.uid == known["metadata"]["uid"]:
            await self._call("delete", self._cluster.delete, known)

    async def _write_status(self, resource: Manifest, status: Mapping[str, Any]) -> None:
        meta = resource["metadata"]
        manifest = {
            "apiVersion": resource["apiVersion"],
            "kind": resource["kind"],
            "metadata": {key: meta[key] for key in ("name", "namespace", "uid")},
            "status": dict(status),
        }
        try:
            self._keep(await self._call("status", self._cluster.apply_status, manifest))
        except NotFound:
            _log.info("%s %s is gone: no status to write", resource["kind"], meta["name"])

    async def _tell(self, resource: Manifest, event: Event) -> None:
        manifest = event_manifest(event, resource, now=datetime.now(UTC), instance=self._identity)
        try:
            await self._call("event", self._cluster.create, manifest)
        except Conflict:
            return  # told already
        except (Refused, NotFound, Retry) as error:
            # An event is a courtesy: it holds nothing that the status does not.
            _log.warning("event %s is not recorded: %s", event.reason, error)

    async def _tell_refusal(self, key: Key, error: Exception) -> None:
        resource = self._cache.get(_KINDS[key.kind], key.namespace, key.name)
        if resource is not None:
            await self._tell(resource, Event("Warning", "WriteRefused", str(error)))

    async def _call(self, verb: str, call: Callable[..., _Answer], *arguments: Any) -> _Answer:
        self._metrics.writes.labels(verb).inc()
        return await asyncio.to_thread(call, *arguments)

    def _known(self, manifest: Mapping[str, Any]) -> Manifest | None:
        meta = manifest["metadata"]
        return self._cache.get(kind_of(manifest), meta["namespace"], meta["name"])

    def _keep(self, manifest: Manifest) -> None:
        """Take in our own write and wake whom it concerns: its watch event brings nothing new."""
        for key in taken_in(self._cache, kind_of(manifest), manifest):
            self.wake(key)


def is_contained(wanted: Any, present: Any) -> bool:
    """Whether every field of `wanted` is so in `present`, which may hold more."""
    if isinstance(wanted, Mapping):
        return isinstance(present, Mapping) and all(
            is_contained(value, present.get(name)) for name, value in wanted.items()
        )
    if isinstance(wanted, (list, tuple)):
        return (
            isinstance(present, (list, tuple))
            and len(wanted) == len(present)
            and all(map(is_contained, wanted, present))
        )
    return bool(wanted == present)


async def _wait(event: asyncio.Event, seconds: float | None) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
