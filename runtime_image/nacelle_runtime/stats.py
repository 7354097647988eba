"""The core's figures: counters and histograms, kept in plain numbers."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable

from nacelle_runtime.pipeline import Ended
from nacelle_runtime.request import Request, RequestId
from nacelle_runtime.scheduler.scheduler import Scheduler
from nacelle_runtime.wire import Histogram, Stats

# Seconds.
_FIRST_TOKEN = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120]
_BETWEEN = [0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 5]


class _Values:
    """A histogram that grows."""

    def __init__(self, bounds: list[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def snapshot(self) -> Histogram:
        return Histogram(self.bounds, list(self.counts), self.total)


class CoreStats:
    """What has happened in the core since its start."""

    def __init__(self) -> None:
        self._prompt_tokens = 0
        self._generated = 0
        self._steps = 0
        self._device_seconds = self._device_idle_seconds = 0.0
        self._finished: Counter[str] = Counter()
        self._last: dict[RequestId, float] = {}
        self._first_token = _Values(_FIRST_TOKEN)
        self._between = _Values(_BETWEEN)
        self._step = _Values(_BETWEEN)

    def submitted(self, request: Request) -> None:
        """A request was taken in."""
        self._prompt_tokens += len(request.prompt)
        self._last[request.id] = request.arrived

    def refused(self) -> None:
        """A request was not taken in."""
        self._finished["refused"] += 1

    def cancelled(self, requests: Iterable[RequestId]) -> None:
        """Requests whose client went away."""
        for request in requests:
            if self._last.pop(request, None) is not None:
                self._finished["cancelled"] += 1

    def stepped(self, ended: Ended) -> None:
        """A step has ended."""
        now = ended.now
        self._steps += 1
        self._step.add(now - ended.began)
        if ended.device is not None:
            self._device_seconds += ended.device.whole
            self._device_idle_seconds += ended.device.idle
        self._generated += len(ended.produced)
        for item in ended.produced:
            values = self._between if item.position else self._first_token
            values.add(now - self._last[item.request])
            self._last[item.request] = now
            if item.finish is not None:
                self._finished[item.finish.value] += 1
                del self._last[item.request]

    def snapshot(self, scheduler: Scheduler) -> Stats:
        """All figures as they stand."""
        speculation = scheduler.speculation
        return Stats(
            waiting=len(scheduler.waiting),
            running=len(scheduler.running),
            requests_max=scheduler.bounds.requests,
            prefilling=sum(request.produced == 0 for request in scheduler.running),
            kv_blocks_total=scheduler.pool.total,
            kv_blocks_used=scheduler.pool.used,
            kv_blocks_idle=scheduler.pool.idle,
            prompt_tokens=self._prompt_tokens,
            prefix_asked_tokens=scheduler.asked_tokens,
            prefix_hit_tokens=scheduler.hit_tokens,
            generated_tokens=self._generated,
            preemptions=scheduler.preemptions,
            steps=self._steps,
            finished=dict(self._finished),
            time_to_first_token=self._first_token.snapshot(),
            inter_token_latency=self._between.snapshot(),
            step_seconds=self._step.snapshot(),
            device_seconds=self._device_seconds,
            device_idle_seconds=self._device_idle_seconds,
            drafted_tokens=speculation.drafted if speculation is not None else 0,
            accepted_tokens=speculation.accepted if speculation is not None else 0,
        )
