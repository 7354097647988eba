"""The loop that reconciles: when it has looked at all, and that it ends when it is told to."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from build_world import TOOLCHAIN

from nacelle_operator.cache import ObjectCache
from nacelle_operator.cluster import Cluster
from nacelle_operator.index import indexers
from nacelle_operator.kinds import ENGINE_BUILD
from nacelle_operator.metrics import Metrics
from nacelle_operator.plan import Event, Plan
from nacelle_operator.queue import Key, KeyQueue
from nacelle_operator.reconcile import Reconciler


def reconciler_of(
    planner: Callable[[Key, datetime], Awaitable[Plan]],
    cache: ObjectCache | None = None,
    cluster: object = None,
) -> Reconciler:
    """Plans without writes call nobody."""
    return Reconciler(
        KeyQueue(clock=time.monotonic, random=lambda: 0.5),
        cache or ObjectCache(),
        cast(Cluster, cluster),
        {"EngineBuild": planner},
        metrics=Metrics(),
        identity="test",
    )


@pytest.mark.parametrize("count", [0, 1, 40])
async def test_all_has_been_looked_at_when_nothing_is_due_nor_at_work(count: int) -> None:
    waiting = {Key("EngineBuild", "team", f"b{number}") for number in range(count)}
    keys, again = set(waiting), {Key("EngineBuild", "team", "b0")} & waiting

    async def plan(key: Key, now: datetime) -> Plan:
        await asyncio.sleep(0.001)
        if key in again:
            # As an object does that was written: it wakes its owner while that is looked at.
            again.discard(key)
            reconciler.wake(key)
        else:
            waiting.discard(key)
        return Plan(requeue_seconds=60.0)

    reconciler = reconciler_of(plan)
    for key in keys:
        reconciler.wake(key)
    working = asyncio.create_task(reconciler.run())
    try:
        async with asyncio.timeout(5):
            await reconciler.rested.wait()
        assert not waiting
    finally:
        working.cancel()


@pytest.mark.parametrize("requeue", [None, 60.0])
@pytest.mark.parametrize("turns", range(8))
async def test_ended_at_the_moment_that_it_is_woken_it_ends(
    turns: int, requeue: float | None
) -> None:
    """A wait of asyncio's that is over already may swallow the end."""
    looked = asyncio.Event()

    async def plan(key: Key, now: datetime) -> Plan:
        looked.set()
        return Plan(requeue_seconds=requeue)

    reconciler = reconciler_of(plan)
    reconciler.wake(Key("EngineBuild", "team", "b"))
    working = asyncio.create_task(reconciler.run())
    await looked.wait()
    await asyncio.sleep(0.01)
    reconciler.wake(Key("EngineBuild", "team", "c"))
    for _ in range(turns):
        await asyncio.sleep(0)
    working.cancel()
    done, _ = await asyncio.wait({working}, timeout=5)
    assert done and working.cancelled()


class Written:
    """An API server that takes all, keeps what it was asked to write, and does something first."""

    def __init__(self, first: Callable[[], None]) -> None:
        self.written: list[dict[str, Any]] = []
        self._first = first

    def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self._first()
        self.written.append(manifest)
        meta = {"uid": manifest["metadata"].get("uid", "new"), "resourceVersion": "9"}
        return {**manifest, "metadata": {**manifest["metadata"], **meta}}

    apply_status = create


def build(uid: str, version: str) -> dict[str, Any]:
    meta = {"name": "b", "namespace": "ns", "uid": uid, "resourceVersion": version}
    return {"apiVersion": "nacelle.dev/v1alpha1", "kind": "EngineBuild", "metadata": meta}


@pytest.mark.parametrize(
    ("when", "written"),
    [
        ("never", ["Job", "EngineBuild", "Event"]),
        ("before it is carried out", []),
        ("as its first object is written", ["Job"]),
    ],
)
async def test_a_plan_is_for_the_resource_it_was_made_for_and_no_namesake(
    when: str, written: list[str]
) -> None:
    """A resource is deleted and made anew while its pod's log is read, or an object is written."""
    cache = ObjectCache(indexers(TOOLCHAIN))

    def make_anew() -> None:
        cache.remove(ENGINE_BUILD, build("one", "1"))
        cache.put(ENGINE_BUILD, build("another", "2"))

    async def plan(key: Key, now: datetime) -> Plan:
        if when == "before it is carried out":
            make_anew()
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "j", "namespace": "ns"},
        }
        event = Event("Normal", "Done", "it is done")
        return Plan(creates=(job,), status={"stage": "x"}, events=(event,), uid="one")

    cache.put(ENGINE_BUILD, build("one", "1"))
    while_writing = when == "as its first object is written"
    cluster = Written(make_anew if while_writing else lambda: None)
    key = Key("EngineBuild", "ns", "b")
    reconciler = reconciler_of(plan, cache, cluster)
    await reconciler.carry_out(key, await plan(key, datetime.now(UTC)))
    assert [manifest["kind"] for manifest in cluster.written] == written
