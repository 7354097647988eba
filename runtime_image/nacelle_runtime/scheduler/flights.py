"""The steps that were launched and have not ended yet, in the order of their launch."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nacelle_runtime.batch import Batch
from nacelle_runtime.request import Request

# While one step runs the next one lies ready behind it: more would only let requests wait longer.
MOST = 2


class Flight(NamedTuple):
    """A launched step: its batch, the request of each chunk, and blocks to release at its end.

    `left` holds the blocks of requests that ended meanwhile: until the step ends it may write to
    them, so they are nobody else's before.
    """

    batch: Batch
    requests: Sequence[Request]
    left: list[list[int]]


class Flights:
    """At most MOST steps, numbered from 0 on."""

    def __init__(self) -> None:
        self._flights: deque[Flight] = deque()
        self._ended = 0

    def __len__(self) -> int:
        return len(self._flights)

    def __iter__(self) -> Iterator[Flight]:
        return iter(self._flights)

    def launch(self, batch: Batch, requests: Sequence[Request]) -> None:
        """A step begins: its requests are as far as they will be when it has ended."""
        assert len(self._flights) < MOST, "too many steps in flight"
        step, draws = self._ended + len(self._flights), 0
        for part, request in zip(batch.chunks, requests, strict=True):
            request.step = step
            request.planned = part.start + len(part.tokens)
            if part.draws:
                count = len(part.draws)
                request.awaited += count
                request.drafted = count - 1
                request.draw = draws
                draws += count
        self._flights.append(Flight(batch, requests, []))

    def end(self, batch: Batch) -> Flight:
        """The oldest step, which must be this batch's, has ended."""
        flight = self._flights.popleft()
        assert flight.batch is batch, "steps end in the order of their launch"
        self._ended += 1
        return flight

    def hold(self, step: int, blocks: list[int]) -> bool:
        """Keep blocks until a step has ended that names them; False when it has."""
        index = step - self._ended
        if index < 0:
            return False
        self._flights[index].left.append(blocks)
        return True
