"""Where the time went: named steps, printed as they end and as a table at the end."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Step:
    """One finished step and how many seconds it took."""

    name: str
    seconds: float


@dataclass
class Timeline:
    """Steps in the order they ended; `say` prints a line for people."""

    say: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    steps: list[Step] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Announce a step, and keep its time when it ends well."""
        self.say(f"==> {name}")
        begin = self.clock()
        yield
        self.steps.append(Step(name, self.clock() - begin))

    def table(self) -> str:
        """The steps with their seconds and share, and the sum."""
        total = sum(step.seconds for step in self.steps)
        width = max((len(step.name) for step in self.steps), default=0)
        lines = [
            f"  {step.name:<{width}}  {step.seconds:7.1f} s  {100 * step.seconds / total:3.0f} %"
            for step in self.steps
        ]
        return "\n".join([*lines, f"  {'in all':<{width}}  {total:7.1f} s"])
