"""Clients that send nonsense, or too slowly, or leave: others keep their tokens."""

import contextlib
import json
import socket
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import start_server
from starlette.requests import Request
from tiny_program import TinyProgram

from nacelle_runtime.frontends.openai.errors import ApiError
from nacelle_runtime.frontends.openai.frontend import ClientBounds, Frontend
from nacelle_runtime.frontends.openai.schema import ChatRequest, CompletionRequest, parse
from nacelle_runtime.wire import BadFrame, FrameSplitter

MODEL = TinyProgram()
PROMPT = [40, 41, 42]
BOUND = 1.0
KEPT = 5.0


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """It gives clients a second to send, and a second to read; five between two requests."""
    bounds = ("--receive-seconds", str(BOUND), "--read-seconds", str(BOUND))
    kept = ("--keep-alive-seconds", str(KEPT))
    flags = (*bounds, *kept, "--max-body-bytes", "20000000", "--access-log", "--log-format", "json")
    server = start_server(tmp_path_factory.mktemp("bounds"), flags, {"step_seconds": 0.002})
    yield server
    server.kill()


@pytest.fixture
def undisturbed(server):
    """Another request runs meanwhile, and gets its own tokens."""
    body = {"model": "tiny", "prompt": PROMPT, "temperature": 0, "max_tokens": 100}
    found = []

    def ask():
        answer = server.http.post("/v1/completions", json=body | {"ignore_eos": True})
        found.append(answer.json()["choices"][0]["text"])

    other = threading.Thread(target=ask)
    other.start()
    yield
    other.join()
    assert found == ["".join(chr(33 + token) for token in MODEL.greedy(PROMPT, 100))]


def connect(server):
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def post(body, path="/v1/completions", **headers):
    """A request's bytes."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def read_all(connection):
    """What comes until the server closes."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(1 << 16):
            data += part
    return data


def error_of(answer):
    """(status, the error) of an answer in the API's form."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]


DEEP = b"[" * 200_000
ABSURD = {"model": "tiny", "prompt": "x"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is not JSON"),
        (b"\xff\xfe\x00", "the body is not JSON"),
        (b'{"model": "tiny", "prompt": "\xff"}', "the body is not JSON"),
        (b'{"model": "tiny", "prompt": "\\ud800"}', "the body is not JSON"),
        (DEEP, "nested too deeply"),
        (b'{"model": "tiny", "prompt": ' + DEEP, "nested too deeply"),
        (b'{"model": "tiny", "prompt": "x", "seed": 1e400}', "Number out of range"),
        (b'{"model": "tiny", "prompt": "x", "temperature": 1e300}', "temperature"),
        (b'{"model": "tiny", "prompt": "x", "temperature": NaN}', "the body is not JSON"),
        (b'{"model": "tiny", "prompt": [' + b"9" * 5000 + b"]}", "out of range"),
        (b'{"model": "tiny", "prompt": [1.5]}', "one text or one list"),
        (b'{"model": "tiny", "prompt": "x", "max_tokens": 99999999999999999999}', "max_tokens"),
        (b'{"model": "tiny", "prompt": "x", "top_k": 18446744073709551616}', "top_k"),
        (b'{"model": "tiny", "prompt": "x", "logit_bias": {"x": 1}}', "logit_bias"),
        (b'{"model": "tiny", "prompt": "x", "__proto__": 1}', "__proto__"),
        (b"[1, 2, 3]", "the body must be a JSON object"),
    ],
    ids=range(16),
)
def test_nonsense_is_answered_in_the_apis_form(server, undisturbed, body, message):
    answer = server.http.post("/v1/completions", content=body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "field",
    [
        {"temperature": 5e-324},
        {"temperature": 1e-38, "top_k": 3},
        {"top_p": 5e-324},
        {"top_p": 1e-300, "min_p": 5e-324},
        {"repetition_penalty": 0.01, "top_k": 1},
        {"logit_bias": {str(i): -100 for i in range(260)}},
        {"seed": -(2**63), "n": 3},
        {"top_k": 2**63 - 1, "temperature": 2},
        {"stop": ["\x00", "\ufffd"]},
        {"bad_words": ["\x00"]},
        {"priority": -1000, "user": "\x00"},
    ],
    ids=range(11),
)
def test_absurd_but_allowed_numbers_are_answered(server, field):
    answer = server.http.post("/v1/completions", json=ABSURD | {"max_tokens": 4} | field)
    assert answer.status_code == 200
    assert server.http.post("/v1/completions", json=ABSURD | {"max_tokens": 1}).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    "junk",
    [
        b"GARBAGE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/1.1\r\nX: " + b"y" * 200_000,
    ],
    ids=["words", "tls", "head"],
)
def test_what_is_no_http_is_told_so(server, undisturbed, junk):
    with connect(server) as connection:
        connection.sendall(junk)
        status, error = error_of(read_all(connection))
    assert (status, error["code"], error["type"]) == (400, "invalid_http", "invalid_request_error")


@pytest.mark.slow
def test_a_head_that_comes_a_byte_at_a_time_has_a_deadline(server, undisturbed):
    with connect(server) as connection:
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            for byte in post(b"{}") + b" " * 1000:
                connection.sendall(bytes([byte]))
                time.sleep(0.1)
        status, error = error_of(read_all(connection))
    assert status == 408
    assert error["message"] == "the request did not come within 1 s"


@pytest.mark.slow
def test_a_connection_that_says_nothing_is_closed(server):
    with connect(server) as connection:
        assert error_of(read_all(connection))[0] == 408


@pytest.mark.slow
def test_a_connection_is_kept_between_two_requests(server):
    """For longer than a head may take; the next head has its own deadline."""
    head = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"

    def ask(connection):
        connection.sendall(head)
        answer = connection.recv(1 << 16)
        while not answer.endswith(b"]}") and (part := connection.recv(1 << 16)):
            answer += part
        assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"]}")

    with connect(server) as connection:
        ask(connection)
        time.sleep(3 * BOUND)
        began = time.monotonic()
        ask(connection)
        assert read_all(connection) == b""
        assert time.monotonic() - began > KEPT - 0.5
    with connect(server) as connection:
        ask(connection)
        connection.sendall(head[:9])
        assert error_of(read_all(connection))[0] == 408


@pytest.mark.slow
def test_a_body_that_comes_a_byte_at_a_time_has_a_deadline(server, undisturbed):
    with connect(server) as connection:
        connection.sendall(post(b"x" * 100)[:-99])
        answer = connection.recv(1 << 16)
        connection.sendall(b"x")
        rest = read_all(connection)
    status, error = error_of(answer + rest)
    assert (status, error["message"]) == (408, "the body did not come within 1 s")


async def test_a_body_that_tells_no_length_is_measured_as_it_comes():
    asked = []

    async def receive():
        asked.append(None)
        return {"type": "http.request", "body": b"xxxx", "more_body": True}

    bounds = ClientBounds(body_bytes=10, receive_seconds=60.0, read_seconds=60.0)
    frontend = Frontend(None, None, None, None, bounds, started=0)
    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    with pytest.raises(ApiError, match="larger than 10 bytes") as refused:
        await frontend.body(request)
    assert (refused.value.status, len(asked)) == (413, 3)


@pytest.mark.slow
def test_a_body_too_large_is_refused_before_it_has_come(server, undisturbed):
    with connect(server) as connection:
        connection.sendall(post(b"", Expect="")[:-4].replace(b"Length: 0", b"Length: 99999999999"))
        connection.sendall(b"\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(30):
                connection.sendall(b"x" * (1 << 20))
        status, error = error_of(connection.recv(1 << 16))
    assert status == 413
    assert error["message"] == "the body is larger than 20000000 bytes"


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_does_not_read_is_given_up(server, undisturbed, stream):
    body = {"model": "tiny", "prompt": "x", "n": 16, "max_tokens": 380, "logprobs": 20}
    large = json.dumps(body | {"ignore_eos": True, "stream": stream}).encode()
    with connect(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(post(large))
        server.until(lambda: _open_connections(server, connection) == 0)
    if stream:
        server.until(lambda: '"client_slow"' in server.errors.read_text())


def _open_connections(server, connection):
    """How many of the server's processes still hold this connection: its port in their tables."""
    port = f"{connection.getsockname()[1]:04X}"
    child = server.children()["frontend"]
    table = Path(f"/proc/{child}/net/tcp").read_text()
    lines = [line.split() for line in table.splitlines()]
    # Inode 0: no process has it any more.
    return sum(line[2].endswith(f":{port}") and line[9] != "0" for line in lines if line[0] != "sl")


@pytest.mark.slow
def test_many_connections_opened_and_dropped(server, undisturbed):
    request = post(json.dumps(ABSURD | {"stream": True}).encode())
    for number in range(600):
        with connect(server) as connection:
            connection.sendall(request[: len(request) * (number % 4) // 3])
    server.until(lambda: server.metric("nacelle_requests_waiting") == 0)


@pytest.mark.slow
def test_each_request_is_told_with_its_id(server):
    named = {"x-request-id": "mine-1"}
    body = ABSURD | {"max_tokens": 3, "ignore_eos": True}
    answer = server.http.post("/v1/completions", json=body, headers=named)
    assert answer.headers["x-request-id"] == "mine-1"
    ours = server.http.post("/v1/nothing", headers={"x-request-id": "no spaces"})
    assert ours.headers["x-request-id"].startswith("req-")
    server.until(lambda: "mine-1" in server.errors.read_text())
    line = _told(server, "mine-1")
    assert (line["message"], line["status"]) == ("POST /v1/completions", 200)
    assert (line["prompt_tokens"], line["completion_tokens"], line["finish"]) == (1, 3, "length")
    assert 0 < line["first_token_seconds"] <= line["seconds"]


@pytest.mark.slow
def test_a_client_that_leaves_is_told_of_so(server):
    body = ABSURD | {"max_tokens": 300, "ignore_eos": True, "stream": True}
    named = {"x-request-id": "leaves"}
    with server.http.stream("POST", "/v1/completions", json=body, headers=named) as answer:
        next(answer.iter_lines())
    server.until(lambda: "leaves" in server.errors.read_text())
    line = _told(server, "leaves")
    assert (line["status"], line["error"]) == (200, "client_gone")
    assert "finish" not in line


def _told(server, request_id):
    """The line of a request."""
    lines = [json.loads(line) for line in server.errors.read_text().splitlines()]
    return next(line for line in lines if line.get("request_id") == request_id)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "x", "tiny"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("k"), inner, max_size=2),
    max_leaves=5,
)
FIELDS = st.sampled_from(
    [*CompletionRequest.__struct_encode_fields__, *ChatRequest.__struct_encode_fields__, "other"]
)


@given(st.dictionaries(FIELDS, JSON, max_size=6), st.sampled_from([ChatRequest, CompletionRequest]))
@settings(deadline=None)
def test_any_fields_make_a_request_or_a_named_refusal(fields, kind):
    base = {"model": "tiny", "prompt": "x", "messages": [{"role": "user", "content": "x"}]}
    wanted = {k: v for k, v in base.items() if k in kind.__struct_encode_fields__}
    body = json.dumps(wanted | fields, allow_nan=True).encode()
    try:
        assert isinstance(parse(body, kind), kind)
    except ApiError as error:
        assert error.status == 400


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_make_a_request_or_a_refusal(body):
    with contextlib.suppress(ApiError):
        parse(body, CompletionRequest)


@given(st.lists(st.binary(max_size=30), max_size=10), st.lists(st.integers(1, 20), max_size=20))
@settings(deadline=None)
def test_frames_come_whole_however_the_bytes_are_cut(bodies, cuts):
    stream = b"".join(len(body).to_bytes(4, "big") + body for body in bodies)
    splitter, found = FrameSplitter(), []
    for size in cuts:
        found += splitter.feed(stream[:size])
        stream = stream[size:]
    assert found + splitter.feed(stream) == bodies


@given(st.binary(min_size=4, max_size=60))
@settings(deadline=None)
def test_any_bytes_on_the_core_socket_are_frames_or_refused(data):
    with contextlib.suppress(BadFrame):
        FrameSplitter().feed(data)
