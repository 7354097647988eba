"""When the operator begins to watch: at the latest in time, and after its first look at all."""

import asyncio
from typing import cast

import pytest

from nacelle_operator import process
from nacelle_operator.watch import Watch


class Started:
    """A watch that only notes its start."""

    def __init__(self) -> None:
        self.count = 0

    def start(self) -> None:
        self.count += 1


class Others:
    """Whether the lease is nobody else's."""

    def __init__(self, alone: bool) -> None:
        self.alone = alone

    def __call__(self) -> bool:
        return self.alone


async def begun(
    watch: Started, others: Others, leads: asyncio.Event, rested: asyncio.Event
) -> asyncio.Task[None]:
    started = process.begin_to_watch(cast(Watch, watch), others, leads, rested)
    task = asyncio.create_task(started)
    await asyncio.sleep(0.01)
    return task


async def test_the_only_one_first_looks_at_everything() -> None:
    watch, leads, rested = Started(), asyncio.Event(), asyncio.Event()
    task = await begun(watch, Others(True), leads, rested)
    assert watch.count == 0
    leads.set()
    await asyncio.sleep(0.01)
    assert watch.count == 0
    rested.set()
    await task
    assert watch.count == 1


async def test_where_another_leads_the_watch_begins_at_once() -> None:
    watch, leads, rested = Started(), asyncio.Event(), asyncio.Event()
    task = await begun(watch, Others(False), leads, rested)
    assert watch.count == 1 and task.done()


async def test_where_another_has_led_meanwhile_too() -> None:
    watch, leads, rested = Started(), asyncio.Event(), asyncio.Event()
    others = Others(True)
    task = await begun(watch, others, leads, rested)
    others.alone = False
    leads.set()
    await task
    assert watch.count == 1


async def test_who_does_not_get_the_lease_stands_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "STANDBY_AFTER", 0.02)
    watch, leads, rested = Started(), asyncio.Event(), asyncio.Event()
    await (await begun(watch, Others(True), leads, rested))
    assert watch.count == 1


async def test_a_look_that_takes_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "FIRST_LOOK_SECONDS", 0.02)
    watch, leads, rested = Started(), asyncio.Event(), asyncio.Event()
    leads.set()
    await (await begun(watch, Others(True), leads, rested))
    assert watch.count == 1


@pytest.mark.parametrize("turns", range(6))
async def test_ended_at_the_moment_that_it_waits_for_it_ends(turns: int) -> None:
    """A wait of asyncio's that is over already may swallow the end."""
    watch, leads, rested = Started(), asyncio.Event(), asyncio.Event()
    task = await begun(watch, Others(True), leads, rested)
    leads.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert watch.count == 0
