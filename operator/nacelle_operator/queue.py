"""Keys that wait for a reconcile: one at a time a key, no key twice, failures with backoff.

A key is in one of these states, and an `add` means:

    absent ---add---> waiting(due) ---take---> running ---finish---> absent
                        |  ^ add: the earlier due wins      | add while running: waits, and is
                        |  |                                | taken again after finish
                        |  `---retry: due = now + backoff---'
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

Random = Callable[[], float]


class Key(NamedTuple):
    """What is reconciled: one custom resource, by name."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Backoff:
    """Delays that double from `first` to `longest` seconds, each cut by up to half at random."""

    first: float = 0.5
    longest: float = 60.0

    def delay(self, attempt: int, random: Random) -> float:
        """Seconds before try number `attempt`, which counts from 1."""
        full = min(self.longest, self.first * 2.0 ** min(attempt - 1, 32))
        return full * (0.5 + 0.5 * random())


@dataclass
class KeyQueue:
    """Keys with the time each is due; `clock` is monotonic seconds, `random` is in [0, 1)."""

    clock: Callable[[], float]
    random: Random
    backoff: Backoff = Backoff()
    concurrency: int = 8
    _due: dict[Key, float] = field(default_factory=dict)
    _heap: list[tuple[float, Key]] = field(default_factory=list)
    _running: set[Key] = field(default_factory=set)
    _failures: dict[Key, int] = field(default_factory=dict)
    _not_before: dict[Key, float] = field(default_factory=dict)

    def add(self, key: Key, delay: float = 0.0) -> None:
        """Ask for a reconcile after `delay` seconds; a failing key keeps its backoff."""
        due = max(self.clock() + delay, self._not_before.get(key, 0.0))
        if key not in self._due or due < self._due[key]:
            self._due[key] = due
            heapq.heappush(self._heap, (due, key))

    def take(self) -> Key | None:
        """The key that has been due for longest, now running; None when there is none to run."""
        if self.is_full:
            return None
        first = self._first()
        if first is None or first[0] > self.clock():
            return None
        del self._due[first[1]]
        self._running.add(first[1])
        return first[1]

    def _first(self) -> tuple[float, Key] | None:
        """The key that is due first of those that do not run; what is stale leaves the heap."""
        passed, first = [], None
        while self._heap and first is None:
            due, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                passed.append((due, key))
                first = None if key in self._running else (due, key)
        for entry in passed:
            heapq.heappush(self._heap, entry)
        return first

    def finish(self, key: Key, requeue_after: float | None = None) -> None:
        """The reconcile went well; look again after `requeue_after` seconds, if given."""
        self._running.remove(key)
        self._failures.pop(key, None)
        self._not_before.pop(key, None)
        if requeue_after is not None:
            self.add(key, requeue_after)

    def retry(self, key: Key, at_least: float = 0.0) -> float:
        """The reconcile failed; gives the seconds after which it is tried again."""
        self._running.remove(key)
        attempt = self._failures.get(key, 0) + 1
        self._failures[key] = attempt
        delay = max(at_least, self.backoff.delay(attempt, self.random))
        self._not_before[key] = self.clock() + delay
        due = self._due.pop(key, None)
        if due is None or due < self._not_before[key]:
            due = self._not_before[key]
        self._due[key] = due
        heapq.heappush(self._heap, (due, key))
        return delay

    def wait(self) -> float | None:
        """Seconds until `take` can give a key; None when only an add or a finish can help."""
        if self.is_full:
            return None
        first = self._first()
        return max(0.0, first[0] - self.clock()) if first else None

    def failures(self, key: Key) -> int:
        """How many times in a row the key's reconcile has failed."""
        return self._failures.get(key, 0)

    @property
    def is_full(self) -> bool:
        """Whether as much is at work as may be; if not, all that is due is at work."""
        return len(self._running) >= self.concurrency

    @property
    def depth(self) -> int:
        """Keys that are due and not running."""
        now = self.clock()
        return sum(due <= now and key not in self._running for key, due in self._due.items())

    @property
    def running(self) -> frozenset[Key]:
        """The keys at work now."""
        return frozenset(self._running)

    def check(self) -> None:
        """The invariants, for tests: bounded, every waiting key reachable, no stale backoff."""
        assert len(self._running) <= self.concurrency
        reachable = {(due, key) for due, key in self._heap}
        assert all((due, key) in reachable for key, due in self._due.items())
        assert self._not_before.keys() == self._failures.keys()
        assert all(self._due[key] >= at for key, at in self._not_before.items() if key in self._due)
