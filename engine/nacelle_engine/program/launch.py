"""A GPU program as data: prebuilt kernels, and the launches that a step is made of.

rank<N>/launches.json holds one `LaunchList`. Nothing here needs a GPU, torch or a compiler.
"""

from typing import Final, Literal

from nacelle_engine.frozen import Frozen

LAUNCHES: Final = "launches.json"

# What varies by step: T tokens, R requests, L rows of logits, Q tiles of queries (attention over
# prompts), W blocks of the widest table.
Symbol = Literal["T", "R", "L", "Q", "W"]


class Size(Frozen):
    """ceil(symbol / divisor) * times; without a symbol just `times`."""

    symbol: Symbol | None = None
    divisor: int = 1
    times: int = 1

    def of(self, sizes: dict[Symbol, int]) -> int:
        """The number that it is in a step of these sizes."""
        if self.symbol is None:
            return self.times
        return -(-sizes[self.symbol] // self.divisor) * self.times


Grid = tuple[Size, Size, Size]
ONE: Final = Size()
