"""Whether the core's steps go on: what a pod's liveness follows."""

import asyncio
import time

from nacelle_runtime.client import CoreClient

# At least so often the core is asked, as a part of the deadline; but not more than once a second.
_PARTS = 4


class Watchdog:
    """Stuck: for `deadline` seconds no step was completed though requests were there.

    A core that does not answer counts as one whose steps stand still: it answers between steps.
    Times are those of one monotonic clock.
    """

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self._steps = -1
        self._since: float | None = None

    def saw(self, steps: int, *, work: bool, now: float) -> None:
        """The core has told how many steps it has completed, and whether requests are there."""
        if self._since is None or not work or steps != self._steps:
            self._since = now
        self._steps = steps

    def stuck(self, now: float) -> bool:
        """True when the pod had better start anew; never before the core was ready."""
        return self._since is not None and now - self._since > self.deadline


async def watch(core: CoreClient, watchdog: Watchdog) -> None:
    """Keep the watchdog told, until the core has gone."""
    await core.ready
    while True:
        stats = await core.stats()
        work = stats.waiting + stats.running > 0
        watchdog.saw(stats.steps, work=work, now=time.monotonic())
        await asyncio.sleep(min(1.0, watchdog.deadline / _PARTS))
