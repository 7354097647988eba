"""The loop that reconciles: when it has looked at all, and that it ends when it is told to."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import cast

import pytest

from nacelle_operator.cache import ObjectCache
from nacelle_operator.cluster import Cluster
from nacelle_operator.metrics import Metrics
from nacelle_operator.plan import Plan
from nacelle_operator.queue import Key, KeyQueue
from nacelle_operator.reconcile import Reconciler


def reconciler_of(planner: Callable[[Key, datetime], Awaitable[Plan]]) -> Reconciler:
    """Its plans are without writes, which call nobody."""
    return Reconciler(
        KeyQueue(clock=time.monotonic, random=lambda: 0.5),
        ObjectCache(),
        cast(Cluster, None),
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
