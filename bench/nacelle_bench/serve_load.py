"""What a server is loaded with: how many requests of which length, and when they are sent."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from nacelle_engine.errors import InvalidRequest
from nacelle_runtime.request import Sampling


@dataclass(frozen=True)
class Load:
    """Requests of equal lengths whose prompts are random ids; none ends before its last token.

    concurrency  so many are kept running; 0: all are sent at once
    rate         so many are sent a second instead, at random times (a Poisson process)
    """

    requests: int
    prompt: int
    answer: int
    concurrency: int = 0
    rate: float | None = None
    seed: int = 0
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0))

    def check(self, input_len: int, sequence_len: int) -> None:
        """Refuse what cannot be sent, and what the server's limits do not hold."""
        for name, value in (
            ("--requests", self.requests),
            ("--prompt", self.prompt),
            ("--answer", self.answer),
        ):
            if value < 1:
                raise InvalidRequest(f"{name} {value} must be at least 1")
        if self.concurrency < 0:
            raise InvalidRequest(f"--concurrency {self.concurrency} must be at least 0")
        if self.rate is not None and not 0 < self.rate < 1e6:
            raise InvalidRequest(f"--rate {self.rate:g} must be above 0")
        if self.prompt > input_len:
            raise InvalidRequest(f"--prompt {self.prompt}: the server takes {input_len} tokens")
        if self.prompt + self.answer > sequence_len:
            raise InvalidRequest(
                f"--prompt {self.prompt} and --answer {self.answer} are together above the "
                f"server's {sequence_len} tokens a sequence"
            )

    @property
    def most(self) -> int:
        """How many may run at once."""
        return self.requests if self.rate or not self.concurrency else self.concurrency

    def prompts(self, vocabulary: int) -> Iterator[list[int]]:
        """The prompts, one a request; another seed gives others, so that no prefix is known."""
        draw = random.Random(f"prompts {self.seed}")
        for _ in range(self.requests):
            yield draw.choices(range(vocabulary), k=self.prompt)

    def times(self) -> Iterator[float]:
        """When each request is sent at the earliest: seconds from the start."""
        draw, now = random.Random(f"times {self.seed}"), 0.0
        for _ in range(self.requests):
            if self.rate:
                now += draw.expovariate(self.rate)
            yield now
