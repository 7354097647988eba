"""What pods' /metrics have counted: read live, with bounds on bytes, time, pods and pace."""

import asyncio
import contextlib
import functools
import operator
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import urllib3
from prometheus_client.parser import text_string_to_metric_families

from nacelle_operator.objects.tally import Tally

INTERVAL_SECONDS: Final = 5.0
TIMEOUT_SECONDS: Final = 2.0
MAX_BYTES: Final = 1 << 20
MAX_PODS: Final = 16
_REMEMBERED: Final = 1024
_PIECE: Final = 1 << 16
# As the runtime's /metrics names them.
_REQUESTS: Final = "nacelle_requests"
_FIRST_TOKEN: Final = "nacelle_time_to_first_token_seconds"


class Source(NamedTuple):
    """A pod's /metrics: which pod, and where."""

    uid: str
    address: str
    port: int
    scheme: str = "http"


def pool_of_pods() -> urllib3.PoolManager:
    """Connections to pods by their addresses, which no certificate names: none is verified.

    Nothing secret is sent over them, and numbers alone are read.
    """
    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    pool = urllib3.PoolManager(cert_reqs="CERT_NONE", assert_hostname=False)
    pool.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
    return pool


def _in_time(
    connection: socket.socket, answer: Callable[[], urllib3.HTTPResponse]
) -> urllib3.HTTPResponse:
    """The head of an answer; it ends where it is after a while, as urllib3's own time-out begins
    anew with each byte.
    """
    cut = threading.Timer(TIMEOUT_SECONDS, _cut, (connection,))
    cut.start()
    try:
        return answer()
    finally:
        cut.cancel()


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # Not a TLS connection's own way, which another thread must not go while one reads.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


class _Plain(urllib3.connection.HTTPConnection):
    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as urllib3 does
        """The answer, its head read in time."""
        return _in_time(self.sock, super().getresponse)


class _Secure(urllib3.connection.HTTPSConnection):
    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as urllib3 does
        """The answer, its head read in time."""
        return _in_time(self.sock, super().getresponse)


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Secure


class MetricsReader:
    """Reads the metrics of pods; one that cannot be read makes the sum unknown."""

    def __init__(self, pool: urllib3.PoolManager, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._clock = clock
        self._known: dict[str, tuple[float, Tally | None]] = {}

    async def read(self, sources: Sequence[Source]) -> Tally | None:
        """The sum over the first pods by name, 16 at most; None when one of them is unknown."""
        found = await asyncio.gather(*map(self._tally, sources[:MAX_PODS]))
        known = [tally for tally in found if tally is not None]
        if len(known) < len(found) or not known:
            return None
        return functools.reduce(operator.add, known)

    async def _tally(self, source: Source) -> Tally | None:
        read_at, tally = self._known.get(source.uid, (float("-inf"), None))
        if self._clock() - read_at < INTERVAL_SECONDS:
            return tally
        tally = await asyncio.to_thread(self._fetch, source)
        self._known.pop(source.uid, None)
        self._known[source.uid] = (self._clock(), tally)
        while len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]
        return tally

    def _fetch(self, source: Source) -> Tally | None:
        host = f"[{source.address}]" if ":" in source.address else source.address
        try:
            answer = self._pool.request(
                "GET",
                f"{source.scheme}://{host}:{source.port}/metrics",
                timeout=urllib3.Timeout(total=TIMEOUT_SECONDS),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            try:
                body = self._body(answer)
            finally:
                answer.close()
            return tally_of(body.decode()) if answer.status == 200 else None
        except (urllib3.exceptions.HTTPError, ValueError):
            return None

    def _body(self, answer: urllib3.BaseHTTPResponse) -> bytes:
        """The whole answer; ValueError for one that is too long, or comes too slowly."""
        until, body = self._clock() + TIMEOUT_SECONDS, b""
        while piece := answer.read1(_PIECE):
            body += piece
            if len(body) > MAX_BYTES or self._clock() > until:
                raise ValueError("the metrics are too long, or come too slowly")
        return body


def tally_of(text: str) -> Tally:
    """The tally in the Prometheus text format of the runtime; ValueError for other text."""
    try:
        return _counted(text)
    except (LookupError, ArithmeticError) as error:
        # A label that is not there, or a count without end.
        raise ValueError(f"no metrics of the runtime: {error!r}") from error


def _counted(text: str) -> Tally:
    outcomes: dict[str, float] = {}
    first_tokens = seconds = 0.0
    for name, labels, value in _samples(text):
        if name == f"{_REQUESTS}_total":
            outcomes[labels["outcome"]] = outcomes.get(labels["outcome"], 0.0) + value
        elif name == f"{_FIRST_TOKEN}_count":
            first_tokens += value
        elif name == f"{_FIRST_TOKEN}_sum":
            seconds += value
    if not outcomes:
        raise ValueError(f"no {_REQUESTS}_total in the metrics")
    ended = sum(value for outcome, value in outcomes.items() if outcome != "cancelled")
    refused = outcomes.get("refused", 0.0)
    return Tally(int(ended), int(refused), int(first_tokens), int(seconds * 1000))


def _samples(text: str) -> Iterable[tuple[str, dict[str, str], float]]:
    for family in text_string_to_metric_families(text):
        if family.name in (_REQUESTS, _FIRST_TOKEN):
            for sample in family.samples:
                yield sample.name, sample.labels, sample.value
