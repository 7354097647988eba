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


async def begun(watch: Started, leads: asyncio.Event, rested: asyncio.Event) -> asyncio.Task[None]:
    task = asyncio.create_task(process.begin_to_watch(cast(Watch, watch), leads, rested))
    await asyncio.sleep(0.01)
    return task


async def test_a_leader_first_looks_at_everything() -> None:
    watch, leads, rested = Started(), asyncio.Event(), asyncio.Event()
    leads.set()
    task = await begun(watch, leads, rested)
    assert watch.count == 0
    rested.set()
    await task
    assert watch.count == 1


async def test_a_standby_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "STANDBY_AFTER", 0.02)
    watch, leads, rested = Started(), asyncio.Event(), asyncio.Event()
    await (await begun(watch, leads, rested))
    assert watch.count == 1


async def test_a_look_that_takes_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "FIRST_LOOK_SECONDS", 0.02)
    watch, leads, rested = Started(), asyncio.Event(), asyncio.Event()
    leads.set()
    await (await begun(watch, leads, rested))
    assert watch.count == 1
