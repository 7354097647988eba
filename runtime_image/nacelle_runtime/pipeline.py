"""Steps on their way: while the device runs one, the host schedules and launches the next."""

import time
from collections import deque
from typing import Generic, NamedTuple, Protocol, TypeVar

from nacelle_runtime.batch import Batch, DeviceTime, Drawn, Produced
from nacelle_runtime.scheduler.scheduler import Scheduler

InFlight = TypeVar("InFlight")


class Engine(Protocol[InFlight]):
    """What runs batches: `launch` does not wait for the device, `collect` waits for one step."""

    def launch(self, batch: Batch, before: InFlight | None) -> InFlight:
        """Begin a step; `before` is the one launched just before it, if there is one."""
        ...

    def collect(self, step: InFlight) -> Drawn:
        """What a step drew, once it has ended; steps are collected in the order of their launch."""
        ...


class Ended(NamedTuple):
    """A step that has ended: what came of it, and when it ran (monotonic, s).

    It began when it was launched or when the one before ended, whichever was later.
    """

    produced: list[Produced]
    began: float
    now: float
    device: DeviceTime | None


class _Flying(NamedTuple, Generic[InFlight]):
    batch: Batch
    step: InFlight
    launched: float


class Pipeline(Generic[InFlight]):
    """A scheduler and its engine, with at most `depth` steps in flight.

    Depth 1 is one step at a time: schedule, run, commit. With 2 a step is launched while the one
    before runs, and that one is committed after it.
    """

    def __init__(self, scheduler: Scheduler, engine: Engine[InFlight], depth: int) -> None:
        self.scheduler = scheduler
        self.depth = depth
        self._engine = engine
        self._flying: deque[_Flying[InFlight]] = deque()
        self._last: InFlight | None = None
        self._ended = 0.0

    def advance(self) -> Ended | None:
        """Launch a step if there is one to run; end the oldest if no more may be in flight.

        It is ended too where nothing can run before it has; None when no step ended.
        """
        batch = self.scheduler.schedule()
        if batch is not None:
            launched = time.monotonic()
            self._last = self._engine.launch(batch, self._last)
            self._flying.append(_Flying(batch, self._last, launched))
        if self._flying and (batch is None or len(self._flying) == self.depth):
            return self._end()
        return None

    def _end(self) -> Ended:
        batch, step, launched = self._flying.popleft()
        drawn = self._engine.collect(step)
        now = time.monotonic()
        began, self._ended = max(launched, self._ended), now
        produced = self.scheduler.commit(batch, drawn)
        if self.scheduler.idle:
            self._last = None  # the device will wait for requests, and not for the host
        return Ended(produced, began, now, drawn.time)
