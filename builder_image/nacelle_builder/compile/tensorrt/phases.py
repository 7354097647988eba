"""TensorRT's phases of a build as one percentage.

It tells each phase's name, its parent's, and its number of steps; phases nest. A phase's share of
the whole is a step of its parent's.
"""

from dataclasses import dataclass


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class Phases:
    """What is done of one build's phases."""

    def __init__(self) -> None:
        self._phases: dict[str, _Phase] = {}
        self._best = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase begins, within its parent's step."""
        self._phases[name] = _Phase(parent, max(steps, 1))

    def step(self, name: str, step: int) -> None:
        """Step number `step` (from 0) of a phase is done."""
        self._phases[name].done = step + 1

    def finish(self, name: str) -> None:
        """A phase ends; what it did counts with its parent's next step."""
        del self._phases[name]

    def fraction(self) -> float:
        """From 0 to 1; it never falls."""
        roots = [name for name, phase in self._phases.items() if phase.parent is None]
        now = max((self._of(name) for name in roots), default=1.0 if self._best else 0.0)
        self._best = max(self._best, min(now, 1.0))
        return self._best

    def _of(self, name: str) -> float:
        phase = self._phases[name]
        inner = [other for other, one in self._phases.items() if one.parent == name]
        within = max((self._of(other) for other in inner), default=0.0)
        return min((phase.done + within) / phase.steps, 1.0)
