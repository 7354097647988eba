"""What answers for a deployment that sleeps, over real connections."""

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from socketserver import ThreadingMixIn
from typing import Any

import pytest

from nacelle_operator.activator import server as module
from nacelle_operator.activator.knocks import Knocks
from nacelle_operator.activator.server import ActivatorServer

WAKING = {
    "error": {
        "message": "chat is waking up: no replica answers yet; try again in 10 seconds",
        "type": "server_error",
        "param": None,
        "code": "waking_up",
    }
}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@contextlib.contextmanager
def serving(made: ActivatorServer) -> Iterator[ActivatorServer]:
    thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join(timeout=10)


@pytest.fixture
def server(clock: Clock) -> Iterator[ActivatorServer]:
    with serving(ActivatorServer(0, "chat", Knocks(clock))) as made:
        yield made


def ask(server: ActivatorServer, method: str, path: str, body: Any = None) -> Any:
    """The answer's status, headers and JSON; the connection has to end with it."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    connection.request(method, path, body, encode_chunked=hasattr(body, "__next__"))
    answer = connection.getresponse()
    content = answer.read()
    assert answer.will_close
    connection.close()
    return answer.status, dict(answer.headers), json.loads(content) if content else None


def waiting(server: ActivatorServer) -> int:
    status, _, told = ask(server, "GET", "/waiting")
    assert status == 200
    return int(told["waiting"])


def test_a_request_is_told_to_come_again_and_wakes(server: ActivatorServer, clock: Clock) -> None:
    assert waiting(server) == 0
    status, headers, told = ask(server, "POST", "/v1/chat/completions", b'{"model": "m"}')
    assert (status, told) == (503, WAKING)
    assert headers["Retry-After"] == "10"
    assert headers["Content-Type"] == "application/json"
    ask(server, "POST", "/v1/completions", b"{}")
    assert waiting(server) == 1, "the first pod is one, however many knock"
    clock.now += 59.0
    assert waiting(server) == 1
    clock.now += 2.0
    assert waiting(server) == 0, "it sleeps on when nobody comes again"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("path", ["/v1/models", "/health/ready", "/metrics", "/"])
def test_a_look_wakes_nobody(server: ActivatorServer, method: str, path: str) -> None:
    """Else what polls a list of models, or probes, would keep every model awake."""
    status, headers, told = ask(server, method, path)
    assert (status, headers["Retry-After"]) == (503, "10")
    if method == "HEAD":
        assert told is None
    else:
        assert told["error"]["message"] == (
            "chat is asleep: no replica answers. A POST request wakes it"
        )
    assert waiting(server) == 0


def test_the_kubelet_is_told_that_it_works(server: ActivatorServer) -> None:
    assert ask(server, "GET", "/healthz")[0] == 200
    assert waiting(server) == 0


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_long_request_gets_its_answer_whole(server: ActivatorServer, is_chunked: bool) -> None:
    """A connection that ends while the client still sends could lose it."""
    body: Any = iter([b"x" * (1 << 20)] * 3) if is_chunked else b"x" * (3 << 20)
    assert ask(server, "POST", "/v1/chat/completions", body)[::2] == (503, WAKING)


def test_the_openai_client_takes_it_as_an_error_of_the_server(server: ActivatorServer) -> None:
    import openai  # It takes a second, which every process of tests would spend.

    address = f"http://127.0.0.1:{server.server_address[1]}/v1"
    client = openai.OpenAI(base_url=address, api_key="none", max_retries=0)
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])
    assert caught.value.status_code == 503
    assert caught.value.code == "waking_up"
    assert caught.value.response.headers["retry-after"] == "10"
    assert waiting(server) == 1


def test_clients_that_say_nothing_hold_no_other_up(server: ActivatorServer) -> None:
    silent = [socket.create_connection(server.server_address[:2]) for _ in range(8)]
    assert waiting(server) == 0
    for each in silent:
        each.close()


def drips_until_it_ends(connection: socket.socket) -> bool:
    """Whether a connection ends though bytes come all the time; with its answer read."""
    connection.settimeout(0.02)
    for _ in range(500):
        try:
            connection.sendall(b"x")
            if not connection.recv(65536):
                time.sleep(0.02)  # Our half may still be open.
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


@pytest.mark.parametrize(
    "begun",
    [b"POST /v1/completions HTTP/1.1\r\nx: ", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n"],
)
def test_clients_that_drip_hold_no_connection_open(
    server: ActivatorServer, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in their request's head nor after its answer: there is room for so many only."""
    monkeypatch.setattr(module, "_READ_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", server.server_address[1])) as connection:
        connection.sendall(begun)
        assert drips_until_it_ends(connection)


def test_without_room_it_ends_when_it_is_told(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_CONNECTIONS", 1)
    monkeypatch.setattr(module, "_READ_SECONDS", 600.0)
    made = ActivatorServer(0, "chat", Knocks(clock))
    silent = [socket.create_connection(("127.0.0.1", made.server_address[1])) for _ in range(3)]
    thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    time.sleep(0.1)
    ends = threading.Thread(target=made.shutdown, daemon=True)
    ends.start()
    for _ in range(400):
        if ends.is_alive():
            silent[0].sendall(b"x")
            ends.join(timeout=0.05)
    assert not ends.is_alive()
    made.server_close()
    for each in silent:
        each.close()


def test_a_thread_that_cannot_be_started_costs_no_room(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as at the bound on a pod's processes: for a moment, and then it answers again."""

    def fails(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module, "_MAX_CONNECTIONS", 1)
    with serving(ActivatorServer(0, "chat", Knocks(clock))) as server:
        with monkeypatch.context() as patched:
            patched.setattr(ThreadingMixIn, "process_request", fails)
            with pytest.raises(OSError):
                waiting(server)
        assert waiting(server) == 0


@pytest.mark.slow
def test_the_program_ends_when_it_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", "nacelle_operator.activator", "chat", str(port)]
    process = subprocess.Popen(command)
    try:
        until = time.monotonic() + 30
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("POST", "/v1/completions", b"{}")
                assert json.loads(connection.getresponse().read()) == WAKING
                break
            except ConnectionRefusedError:
                assert time.monotonic() < until
                time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    finally:
        process.kill()


# SIGTERM comes as `main` begins to wait for it, by an event's lock or by the system.
TOLD_AS_IT_BEGINS_TO_WAIT = """
import signal, sys, threading
from nacelle_operator.activator import __main__ as program

WAITS = (threading.Condition.wait.__code__, signal.sigwait.__code__)

def told(frame, event, argument):
    near = [frame.f_back, frame.f_back and frame.f_back.f_back]
    by_main = any(caller and caller.f_code is program.main.__code__ for caller in near)
    if frame.f_code in WAITS and by_main:
        signal.raise_signal(signal.SIGTERM)

sys.argv = ["activator", "chat", "0"]
sys.settrace(told)
sys.exit(program.main())
"""


@pytest.mark.slow
def test_the_program_ends_also_when_it_is_told_as_it_begins_to_wait() -> None:
    process = subprocess.Popen([sys.executable, "-c", TOLD_AS_IT_BEGINS_TO_WAIT])
    try:
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
