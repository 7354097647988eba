"""Who runs: requests become running ones, are put back, and leave."""

from collections.abc import Iterable

from nacelle_runtime.request import Request, RequestId
from nacelle_runtime.scheduler.bounds import Bounds, Policy
from nacelle_runtime.scheduler.flights import Flights
from nacelle_runtime.scheduler.ledger import Ledger
from nacelle_runtime.scheduler.queue import WaitingQueue, standing
from nacelle_runtime.speculation.speculation import Speculation


class Admission:
    """The requests that wait and run; those that run have a place and an account of blocks.

    `preemptions` counts how often a running one was put back.
    """

    def __init__(
        self,
        bounds: Bounds,
        ledger: Ledger,
        flights: Flights,
        speculation: Speculation | None = None,
    ) -> None:
        self.waiting = WaitingQueue(bounds.patience)
        self.running: list[Request] = []
        self.requests: dict[RequestId, Request] = {}
        self.preemptions = 0
        self._bounds = bounds
        self._ledger = ledger
        self._flights = flights
        self._speculation = speculation
        self._places = list(reversed(range(bounds.requests)))
        self._arrivals = 0

    def arrive(self, request: Request) -> None:
        """Queue a request; it runs at once where it fits."""
        request.number = self._arrivals
        self._arrivals += 1
        self.requests[request.id] = request
        self.waiting.add(request)
        self._admit()

    def cancel(self, names: Iterable[RequestId]) -> int:
        """Forget requests and free their blocks; gives how many of them there still were."""
        cancelled = 0
        for name in names:
            request = self.requests.get(name)
            if request is None:
                continue
            cancelled += 1
            if request.reserved:
                self.finish(request)
            else:
                self.waiting.remove(request)
                del self.requests[name]
        return cancelled

    def let_in(self) -> bool:
        """Admit who fits beside the answers that grow; False when a step in flight must end first.

        Only between steps is anybody put back: the step may end requests, and the tokens that it
        draws are then known.
        """
        growing = self._growing()
        short = len(growing) > self._ledger.free
        if short and self._flights:
            return False
        if short:
            self._make_room(growing)
            return True
        for request in growing:
            self._ledger.take(request)
        self._admit()
        return True

    def finish(self, request: Request) -> None:
        """A running request has ended."""
        self._stop(request)
        del self.requests[request.id]

    def _admit(self) -> None:
        """Move waiting requests to the running ones, in line, while they fit."""
        while self._places and (request := self.waiting.first) is not None:
            if not self._ledger.admit(request, len(self.running)):
                return
            self.waiting.take()
            request.place = self._places.pop()
            self.running.append(request)

    def _growing(self) -> list[Request]:
        """The answers that need a block now which was not promised to them."""
        if self._bounds.policy is Policy.GUARANTEED_NO_EVICT:
            return []
        size = self._bounds.tokens_per_block
        return [
            r
            for r in self.running
            if r.planned == len(r.blocks) * size
            and r.left == 1
            and r.ready
            and not self._ledger.owed(r)
        ]

    def _make_room(self, growing: list[Request]) -> None:
        """A block for each, the best first; others are put back for it, the last of all first."""
        # In this order who is put back had no block taken for nothing.
        growing.sort(key=standing)
        for request in growing:
            while request.reserved and self._ledger.free == 0:
                self._put_back(max(self.running, key=standing))
            if request.reserved:
                self._ledger.take(request)

    def _put_back(self, request: Request) -> None:
        """Let a running request wait again."""
        self._stop(request)
        self.waiting.put_back(request)
        self.preemptions += 1

    def _stop(self, request: Request) -> None:
        """Take a request out of the running ones; its place is free, and its blocks will be.

        They stay away from others until every launched step that names them has ended.
        """
        self.running.remove(request)
        blocks = self._ledger.close(request)
        if not self._flights.hold(request.step, blocks):
            self._ledger.release(blocks)
        self._places.append(request.place)
        request.place = -1
        if self._speculation is not None:
            self._speculation.forget(request)
