"""The requests that wait, and who of them is next."""

from collections import deque
from collections.abc import Iterator
from itertools import takewhile

from nacelle_runtime.request import Request


def standing(request: Request) -> tuple[int, int, int]:
    """The order of requests, best first: urgent ones by arrival, then by priority and arrival."""
    if request.urgent:
        return (0, 0, request.number)
    return (1, -request.priority, request.number)


class WaitingQueue:
    """Higher priorities first, within a priority by arrival, and no one for ever.

    A request is passed when one that arrived later is admitted while it waits, or when it is put
    back. Passed `patience` times, it is urgent: it stands before all that are not and, among urgent
    ones, by arrival. Nobody is admitted before the first in line, even one who would fit. So:

    * While a request waits, at most `patience` later arrivals are admitted, whatever arrives.
    * Put back `patience` times, it gives way to nobody but urgent requests that arrived earlier;
      there are finitely many, and the best of all that run is never put back. So it ends.
    """

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._urgent: deque[Request] = deque()
        # One deque a priority, each by arrival; none is empty.
        self._levels: dict[int, deque[Request]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Request]:
        yield from self._urgent
        for priority in sorted(self._levels, reverse=True):
            yield from self._levels[priority]

    @property
    def first(self) -> Request | None:
        """Who is next."""
        line = self._first_line()
        return line[0] if line else None

    def add(self, request: Request) -> None:
        """Let a request wait that has just arrived."""
        self._insert(request)

    def put_back(self, request: Request) -> None:
        """Let a request wait again that has run: it was passed once."""
        self._pass(request)
        self._insert(request)

    def take(self) -> Request:
        """Remove who is next; earlier ones that go on waiting were passed once."""
        request = self._first_line()[0]
        self.remove(request)
        for line in list(self._levels.values()):
            for other in list(takewhile(lambda r: r.number < request.number, line)):
                self._pass(other)
                if other.urgent:
                    self._drop(other)
                    _by_arrival(self._urgent, other)
        return request

    def remove(self, request: Request) -> None:
        """Remove a request from anywhere in the line."""
        if request.urgent:
            self._urgent.remove(request)
        else:
            self._drop(request)
        self._count -= 1

    def _first_line(self) -> deque[Request]:
        if self._urgent or not self._levels:
            return self._urgent
        return self._levels[max(self._levels)]

    def _pass(self, request: Request) -> None:
        request.passed += 1
        request.urgent = request.passed >= self._patience

    def _insert(self, request: Request) -> None:
        line = self._urgent
        if not request.urgent:
            line = self._levels.setdefault(request.priority, deque())
        _by_arrival(line, request)
        self._count += 1

    def _drop(self, request: Request) -> None:
        line = self._levels[request.priority]
        line.remove(request)
        if not line:
            del self._levels[request.priority]


def _by_arrival(line: deque[Request], request: Request) -> None:
    """Insert by arrival, searched from the nearer end."""
    if not line or line[-1].number < request.number:
        line.append(request)
        return
    place = next(i for i, other in enumerate(line) if other.number > request.number)
    line.insert(place, request)
