"""What the core's own work costs a step: to schedule it, to make its tensors, to commit it."""

import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from nacelle_bench.table import Table
from nacelle_engine.errors import InvalidRequest
from nacelle_runtime.batch import Batch, Drawn
from nacelle_runtime.kv_blocks import BlockPool
from nacelle_runtime.prefix_cache import PrefixCache
from nacelle_runtime.request import Ending, Request, Sampling
from nacelle_runtime.runner import Runner
from nacelle_runtime.scheduler.bounds import Bounds, Policy
from nacelle_runtime.scheduler.scheduler import Scheduler

_SIZE = 32
_VOCABULARY = 1000
_PREFILL = 8192
# Steps in flight, as on a GPU.
_DEPTH = 2
# An answer's tokens where requests come and go: one in so many ends in a step.
_ANSWER = 128


@dataclass
class _Work:
    """Requests that run over a scheduler without an engine, and the time of each part of a step."""

    policy: Policy
    running: int
    context: int
    answer: int
    count: int = 0
    flying: deque[Batch] = field(default_factory=deque)
    seconds: list[tuple[float, float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        blocks = self.running * -(-(self.context + self.answer) // _SIZE) + self.running + 1
        pool, limit = BlockPool(blocks), self.context + self.answer
        bounds = Bounds(
            requests=self.running,
            tokens=_PREFILL + self.running,
            prefill_tokens=_PREFILL,
            input_len=self.context,
            sequence_len=limit,
            vocabulary=_VOCABULARY,
            queue=self.running,
            policy=self.policy,
        )
        self.scheduler = Scheduler(bounds, pool, PrefixCache(pool, "bench", _SIZE))
        self.runner = Runner(lambda _: torch.empty(0), 1, _SIZE)

    def submit(self, tokens: int) -> None:
        """One request more: a prompt of its own, and so many tokens to come."""
        self.count += 1
        prompt = [(self.count * 7 + i) % _VOCABULARY for i in range(self.context)]
        refusal = self.scheduler.submit(
            Request((0, self.count), prompt, Sampling(), Ending(tokens))
        )
        assert refusal is None, refusal

    def step(self) -> int:
        """Launch a step and end the one before; gives how many requests that one ended."""
        drawn = torch.zeros(len(self.flying[-1].draws) if self.flying else 0, dtype=torch.int64)
        began = time.thread_time()
        batch = self.scheduler.schedule()
        scheduled = time.thread_time()
        if batch is not None:
            self.flying.append(batch)
            self.runner.step_input(batch, drawn)
        made = time.thread_time()
        if batch is not None and len(self.flying) < _DEPTH:
            return 0
        before = self.flying.popleft()
        tokens = [5] * len(before.draws)
        committing = time.thread_time()
        produced = self.scheduler.commit(before, Drawn(tokens))
        ended = time.thread_time()
        self.seconds.append((scheduled - began, made - scheduled, ended - committing))
        return sum(item.finish is not None for item in produced)


def bench_scheduler(running: Sequence[int], context: int, steps: int) -> Table:
    """Microseconds a step, for each policy and number of running requests.

    CPU time, so that a busy machine does not show; a step is made while the one before is in
    flight, as on a GPU. "steady": all decode. "arrivals": answers of 128 tokens, and who ends is
    replaced at once.
    """
    for name, value in (("running", min(running)), ("context", context), ("steps", steps)):
        if value < 1:
            raise InvalidRequest(f"--{name}: at least 1")
    rows = [
        _row(kind, policy, count, context, steps)
        for policy in Policy
        for kind in ("steady", "arrivals")
        for count in running
    ]
    return Table({"context": context, "unit": "microseconds of CPU time, median"}, rows)


def _row(kind: str, policy: Policy, running: int, context: int, steps: int) -> dict[str, Any]:
    # Until every prompt has run, and the first answers are out.
    warm = -(-running * context // _PREFILL) + 8
    work = _Work(policy, running, context, _ANSWER if kind == "arrivals" else 2 * warm + steps)
    for number in range(running):
        # Where requests come and go, their ends are spread evenly.
        spread = 1 + number * work.answer // work.running
        work.submit(spread if kind == "arrivals" else work.answer)
    for number in range(warm + steps):
        if number == warm:
            work.seconds.clear()
        for _ in range(work.step()):
            work.submit(work.answer)
    parts = [1e6 * statistics.median(part) for part in zip(*work.seconds, strict=True)]
    whole = 1e6 * statistics.median(sum(parts) for parts in work.seconds)
    return {
        "row": f"{work.policy.value.lower()}, {kind}",
        "running": work.running,
        "schedule": parts[0],
        "tensors": parts[1],
        "commit": parts[2],
        "step": whole,
        "a request": whole / work.running,
    }
