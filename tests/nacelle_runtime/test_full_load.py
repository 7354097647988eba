"""A server that is ended, or whose core is killed, while every place in it is taken."""

import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from serving import gone
from tiny_program import TinyProgram

from nacelle_engine.result import parse_result

pytestmark = pytest.mark.slow
MODEL = TinyProgram()
# Streams that are read, and answers in one; an engine of 16 places, so that most of them wait.
STREAMS, WHOLE, PLACES = 64, 16, 16
TOKENS = 40
# Nothing may take longer.
DEADLINE = 60


def prompt(number):
    return [(11 * number + place) % 94 for place in range(1 + number % 7)]


def expected():
    return [
        "".join(chr(33 + token) for token in MODEL.greedy(prompt(number), TOKENS))
        for number in range(STREAMS + WHOLE)
    ]


class Load:
    """Clients that ask all at once; `running` counts those whose answer has begun to come."""

    def __init__(self, server):
        self.server, self.running = server, 0
        self.http = httpx.Client(
            base_url=server.url, timeout=DEADLINE, limits=httpx.Limits(max_connections=None)
        )
        self.lock = threading.Lock()
        self.pool = ThreadPoolExecutor(STREAMS + WHOLE)
        self.answers = [
            self.pool.submit(self.stream if number < STREAMS else self.whole, number)
            for number in range(STREAMS + WHOLE)
        ]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pool.shutdown(cancel_futures=True)
        self.http.close()

    def body(self, number, **fields):
        asked = {"model": "tiny", "prompt": prompt(number), "temperature": 0}
        return asked | {"max_tokens": TOKENS, "ignore_eos": True} | fields

    def stream(self, number):
        """(status, text, the last event) of a streamed answer, or an error's body in its place."""
        asked = self.body(number, stream=True)
        with self.http.stream("POST", "/v1/completions", json=asked) as answer:
            if answer.status_code != 200:
                return answer.status_code, "", json.loads(answer.read())
            text, last = "", None
            # Up to the end that the server makes: httpx tells of one that is cut.
            for line in filter(None, answer.iter_lines()):
                last = line.removeprefix("data: ")
                if last == "[DONE]":
                    continue
                last = json.loads(last)
                if "choices" in last:
                    with self.lock:
                        self.running += not text
                    text += last["choices"][0]["text"]
            return 200, text, last

    def whole(self, number):
        answer = self.http.post("/v1/completions", json=self.body(number))
        body = answer.json()
        if answer.status_code != 200:
            return answer.status_code, "", body
        return 200, body["choices"][0]["text"], "[DONE]"

    def under_way(self):
        """True when all have been taken in, and some answers have begun."""
        taken = self.server.metric("nacelle_requests_running") + self.server.metric(
            "nacelle_requests_waiting"
        )
        done = self.server.metric("nacelle_requests_total")
        return self.running >= PLACES / 2 and taken + done == STREAMS + WHOLE

    def results(self):
        until = time.monotonic() + DEADLINE
        return [answer.result(max(0, until - time.monotonic())) for answer in self.answers]


@pytest.fixture
def full(serve):
    def start(*flags):
        flags = ("--queue-limit", "200", *flags)
        return serve(*flags, step_seconds=0.02, max_batch_size=PLACES)

    return start


class Newcomer:
    """Somebody who asks on a new connection each time, and has made ready for it before."""

    def __init__(self, server):
        limits = httpx.Limits(max_keepalive_connections=0)
        self.http = httpx.Client(base_url=server.url, timeout=DEADLINE, limits=limits)

    def ask(self):
        body = {"model": "tiny", "prompt": "x", "max_tokens": 1}
        return self.http.post("/v1/completions", json=body)


@pytest.mark.parametrize("depth", ["1", "2"])
def test_sigterm_under_full_load_fails_no_request(full, depth):
    server = full("--steps-in-flight", depth)
    newcomer = Newcomer(server)
    with Load(server) as load:
        server.until(load.under_way)
        server.process.send_signal(signal.SIGTERM)
        server.until(lambda: server.http.get("/health/ready").status_code == 503)
        late = [newcomer.ask() for _ in range(5)]
        assert not all(answer.done() for answer in load.answers), "the load was over already"
        results = load.results()
    assert results == [(200, text, "[DONE]") for text in expected()]
    for answer in late:
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["error"]["code"] == "shutting_down"
    assert server.process.wait(DEADLINE) == 0
    assert not server.log.exists()


def test_a_core_killed_under_full_load_ends_every_request_with_an_error(full):
    server = full()
    children = server.children()
    late, newcomer = [], Newcomer(server)
    with Load(server) as load:
        server.until(load.under_way)
        # The supervisor is held meanwhile: it gives newcomers half a second, in which a test with
        # so many threads may not come to ask.
        server.process.send_signal(signal.SIGSTOP)
        os.kill(children["core"], signal.SIGKILL)
        began = time.monotonic()
        late.append(newcomer.ask())
        server.process.send_signal(signal.SIGCONT)
        # The frontend goes on answering for a moment, then its port is closed.
        while server.process.poll() is None:
            try:
                late.append(newcomer.ask())
            except httpx.TransportError:
                break
        results = load.results()
        assert time.monotonic() - began < DEADLINE
    texts = expected()
    for number, (status, text, last) in enumerate(results):
        if last == "[DONE]":
            assert text == texts[number]
            continue
        assert status == (200 if text else 503)
        assert texts[number].startswith(text)
        error = last["error"]
        assert (error["code"], error["type"]) == ("core_lost", "server_error")
        assert error["message"]
    assert sum(last != "[DONE]" for _, _, last in results) > STREAMS / 2
    assert [answer.status_code for answer in late] == [503] * len(late)
    assert {answer.headers["retry-after"] for answer in late} <= {"1"}
    assert {answer.json()["error"]["code"] for answer in late} <= {"not_ready", "core_lost"}
    assert server.process.wait(DEADLINE) == 75
    failure = parse_result(server.log.read_text()).failure
    assert (failure.code, failure.message) == (
        "CoreDied",
        "the core process was ended by SIGKILL",
    )
    assert gone(children)
