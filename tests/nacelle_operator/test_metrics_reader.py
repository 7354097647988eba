"""Pods' metrics: what the runtime writes is what is read, and nothing hangs or floods."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import urllib3
from certificates import make_certificate
from pod_server import Answer, pod_server, says

from nacelle_operator import metrics_reader
from nacelle_operator.metrics_reader import MetricsReader, Source, pool_of_pods, tally_of
from nacelle_operator.objects.tally import Tally
from nacelle_runtime.metrics import exposition
from nacelle_runtime.wire import Histogram, Ready, Stats

READY = Ready("k", 8, 16, 100, 64, 1, 0.5, "")
FINISHED = {"stop": 30, "length": 50, "cancelled": 7, "refused": 20}


def written(**finished: int) -> bytes:
    """/metrics of a runtime that has ended these requests."""
    waits = Histogram([0.1, 1.0], [60, 20, 0], 8.5)
    other = Histogram([0.1], [3, 1], 0.7)
    stats = Stats(*(1,) * 13, finished, waits, other, other, 0.0, 0.0)
    return exposition(stats, READY, "m")


@contextmanager
def pod(answer: Answer) -> Iterator[tuple[Source, list[str]]]:
    """A pod that answers so, and the paths that it was asked for."""
    with pod_server(answer) as server:
        yield Source("u", server.address, server.port), server.asked


def read(*sources: Source, reader: MetricsReader | None = None) -> Tally | None:
    with pool_of_pods() as pool:
        return asyncio.run((reader or MetricsReader(pool, lambda: 0.0)).read(sources))


def test_what_the_runtime_writes_is_read() -> None:
    assert tally_of(written(**FINISHED).decode()) == Tally(100, 20, 80, 8500)


def test_pods_are_summed() -> None:
    with pod(says(written(**FINISHED))) as (one, asked), pod(says(written(stop=5))) as (other, _):
        assert read(one, other._replace(uid="v")) == Tally(105, 20, 160, 17000)
        assert asked == ["/metrics"]


def test_a_pod_that_speaks_tls_is_read(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    with pod_server(says(written(stop=5)), tls=context) as server:
        source = Source("u", server.address, server.port, "https")
        assert read(source) == Tally(5, 0, 80, 8500)
        assert read(source._replace(scheme="http")) is None


def others(sample: str) -> Answer:
    """/metrics of another program that counts requests, too."""
    return says(f"# TYPE nacelle_requests_total counter\n{sample}\n".encode())


@pytest.mark.parametrize(
    "answer",
    [
        says(b"", 503),
        says(b"hello"),
        says(b"a" * (metrics_reader.MAX_BYTES + 1)),
        says(b"\xff"),
        others("nacelle_requests_total 5"),
        others('nacelle_requests_total{outcome="stop"} +Inf'),
        others('nacelle_requests_total{outcome="stop"} NaN'),
    ],
    ids=["not ready", "not metrics", "too long", "not text", "no outcome", "no end", "no number"],
)
def test_what_cannot_be_read_is_unknown(answer: Answer) -> None:
    with pod(answer) as (bad, _), pod(says(written(stop=5))) as (good, _):
        assert read(bad) is None
        assert read(good._replace(uid="v"), bad) is None, "half a sum would be a wrong one"


def test_a_pod_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_reader, "TIMEOUT_SECONDS", 0.2)
    over = threading.Event()

    def silent(_: BaseHTTPRequestHandler) -> None:
        over.wait(10)

    with pod(silent) as (source, _):
        assert read(source) is None
        over.set()


def test_a_pod_that_drips_is_given_up() -> None:
    over = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not over.wait(0.01):
            request.wfile.write(b"#")

    ticks = iter(range(1000))
    with pod(drip) as (source, _), urllib3.PoolManager() as pool:
        assert read(source, reader=MetricsReader(pool, lambda: float(next(ticks)))) is None
        over.set()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_pod_whose_head_drips_is_given_up(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it holds one of the threads that all of the operator's calls share, and a reconcile."""
    monkeypatch.setattr(metrics_reader, "TIMEOUT_SECONDS", 0.3)
    over, waited_for = threading.Event(), []

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nx: ")
        for _ in range(500):
            if over.wait(0.02):
                return
            request.wfile.write(b"#")
        waited_for.append(request)

    context = None
    if scheme == "https":
        certificate = make_certificate(tmp_path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    with pod_server(drip, tls=context) as server:
        assert read(Source("u", server.address, server.port, scheme)) is None
        over.set()
    assert not waited_for


def test_no_pods_are_unknown_and_no_port_is_refused() -> None:
    assert read() is None
    assert read(Source("u", "127.0.0.1", 1)) is None


def test_a_pod_is_asked_every_few_seconds_only() -> None:
    now = [0.0]
    with pod(says(written(stop=5))) as (source, asked), urllib3.PoolManager() as pool:
        reader = MetricsReader(pool, lambda: now[0])
        for moment in (0.0, 4.9, 5.1):
            now[0] = moment
            assert read(source, reader=reader) == Tally(5, 0, 80, 8500)
        assert len(asked) == 2


def test_counts_since_a_moment() -> None:
    assert Tally(9, 3, 8, 70).since(Tally(5, 1, 4, 30)) == Tally(4, 2, 4, 40)
    assert Tally(2, 0, 2, 9).since(Tally(5, 1, 4, 30)) == Tally(2, 0, 2, 9), "a pod began anew"
