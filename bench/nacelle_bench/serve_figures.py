"""What was seen of the requests of a load, and the figures made of it."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from nacelle_bench.serve_load import Load
from nacelle_engine.errors import InvalidRequest, TemporaryError

# What is told of each latency.
MEASURES = ("mean", "p50", "p90", "p99")


@dataclass
class Seen:
    """One request: when it was sent, when parts of its answer came (s, one clock), its tokens.

    A core sends each token by itself; an event over HTTP may bring several.
    """

    sent: float
    arrivals: list[float] = field(default_factory=list)
    tokens: int = 0
    failure: str | None = None

    @property
    def first(self) -> float:
        """Seconds to the first token."""
        return self.arrivals[0] - self.sent

    @property
    def whole(self) -> float:
        """Seconds to the last token."""
        return self.arrivals[-1] - self.sent

    @property
    def gaps(self) -> list[float]:
        """Seconds between the parts."""
        return [now - before for before, now in pairwise(self.arrivals)]


@dataclass(frozen=True)
class Engine:
    """A server's account since its start: steps, their seconds, the device's, its idle ones."""

    steps: float
    step_seconds: float
    device_seconds: float
    device_idle_seconds: float


@dataclass(frozen=True)
class Goal:
    """What counts as good: the first token in time, and the others on average (s)."""

    first: float
    between: float

    def __post_init__(self) -> None:
        for name, value in (("--first-ms", self.first), ("--between-ms", self.between)):
            if not value > 0:
                raise InvalidRequest(f"{name} {1000 * value:g} must be above 0")


@dataclass(frozen=True)
class Run:
    """A load that was driven: each request, and the engine's account before and after."""

    load: Load
    seen: Sequence[Seen]
    before: Engine
    after: Engine


def figures(run: Run, goal: Goal | None) -> dict[str, Any]:
    """One row: rates over the time from the first request to the last token; times in ms.

    TemporaryError says why a request failed: rates over what is left would tell nothing.
    """
    load, seen = run.load, run.seen
    failures = [one.failure for one in seen if one.failure is not None]
    if failures:
        raise TemporaryError(f"{len(failures)} of {len(seen)} requests failed: {failures[0]}")
    start = min(one.sent for one in seen)
    seconds = max(one.sent + one.whole for one in seen) - start
    answered = sum(one.tokens for one in seen)
    row: dict[str, Any] = {
        "concurrency": None if load.rate else min(load.most, load.requests),
        "requests": len(seen),
        "seconds": round(seconds, 3),
        "output_tok_s": round(answered / seconds, 1),
        "total_tok_s": round((answered + load.prompt * len(seen)) / seconds, 1),
        "requests_s": round(len(seen) / seconds, 2),
        **_spread("ttft", [one.first for one in seen]),
        **_spread("itl", [gap for one in seen for gap in one.gaps]),
        **_spread("e2e", [one.whole for one in seen]),
        **_engine(run.before, run.after),
    }
    if goal is not None:
        good = sum(_good(one, goal) for one in seen)
        row |= {
            "goodput_requests_s": round(good / seconds, 2),
            "good_percent": round(100 * good / len(seen), 1),
        }
    return row


def _good(one: Seen, goal: Goal) -> bool:
    between = statistics.fmean(one.gaps) if one.gaps else 0.0
    return one.first <= goal.first and between <= goal.between


def _spread(name: str, seconds: list[float]) -> dict[str, Any]:
    """Mean and percentiles in ms; None where there is nothing to measure."""
    if not seconds:
        return {f"{name}_ms_{of}": None for of in MEASURES}
    ordered = sorted(seconds)
    values = [statistics.fmean(ordered), *(percentile(ordered, p) for p in (50, 90, 99))]
    return {
        f"{name}_ms_{of}": round(1000 * value, 3)
        for of, value in zip(MEASURES, values, strict=True)
    }


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value below which that share of the values lies, linear between neighbours."""
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _engine(before: Engine, after: Engine) -> dict[str, Any]:
    """The engine's steps in the run, their mean time, and the share that its device had no work."""
    steps = after.steps - before.steps
    seconds = after.device_seconds - before.device_seconds
    idle = after.device_idle_seconds - before.device_idle_seconds
    return {
        "steps": round(steps),
        "step_ms": round(1000 * (after.step_seconds - before.step_seconds) / steps, 3),
        "idle_percent": round(100 * idle / seconds, 2) if seconds else None,
    }
