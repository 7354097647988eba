"""When traced requests began to run and when their tokens came; the others cost nothing here."""

from collections.abc import Iterable

from nacelle_runtime.batch import Produced
from nacelle_runtime.request import Request, RequestId
from nacelle_runtime.wire import Times


class RequestTimes:
    """What the core can tell of the life of requests; times are the monotonic clock's (s)."""

    def __init__(self) -> None:
        self._waiting: dict[RequestId, Request] = {}
        self._begun: dict[RequestId, tuple[float, float]] = {}

    def submitted(self, request: Request) -> None:
        """A request that is traced was taken in."""
        self._waiting[request.id] = request

    def scheduled(self, now: float) -> None:
        """A step was scheduled at that time: who is among the running ones waits no more."""
        for name, request in list(self._waiting.items()):
            if request.place >= 0 or request.produced:
                self._begun[name] = (request.arrived, now)
                del self._waiting[name]

    def told(self, item: Produced, now: float) -> Times | None:
        """What goes out with a token, drawn by a step that ended then: the first and the last."""
        begun = self._begun.get(item.request)
        if begun is None or (item.position and item.finish is None):
            return None
        if item.finish is not None:
            del self._begun[item.request]
        return Times(*begun, now)

    def cancelled(self, requests: Iterable[RequestId]) -> None:
        """Nobody waits for these any more."""
        for name in requests:
            self._waiting.pop(name, None)
            self._begun.pop(name, None)
