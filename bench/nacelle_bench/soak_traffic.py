"""Mixed clients of a server: good ones, rude ones and wrong ones, each answer checked."""

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_TIMEOUT = 120.0
_HEADERS = {"Content-Type": "application/json"}
_SCHEMA = {
    "type": "object",
    "properties": {"size": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["size"],
    "additionalProperties": False,
}
_TOOL = {"type": "function", "function": {"name": "resize", "parameters": _SCHEMA}}
_WRONG: tuple[bytes, ...] = (
    b"{",
    b"[]",
    b'{"model": "soak", "prompt": "x", "temperature": 9}',
    b'{"model": "soak", "prompt": "x", "nonsense": 1}',
    b'{"model": "soak", "prompt": [123456789]}',
)


@dataclass
class Traffic:
    """Clients that ask at random times, `rate` requests a second together; what came of them.

    seen: requests by kind; wrong: what was not as it must be, in words.
    """

    host: str
    port: int
    clients: int
    rate: float
    seed: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    _first: dict[int, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, until: float, over: threading.Event) -> None:
        """Ask until that time (monotonic) or until it is over, and wait for the last answers."""
        threads = [
            threading.Thread(target=self._client, args=(number, until, over))
            for number in range(self.clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _client(self, number: int, until: float, over: threading.Event) -> None:
        draw = random.Random(f"{self.seed} {number}")
        kinds = list(_KINDS.items())
        while True:
            pause = draw.expovariate(self.rate / self.clients)
            if over.wait(min(pause, until - time.monotonic())) or time.monotonic() >= until:
                return
            name, ask = draw.choice(kinds)
            try:
                fault = ask(self, draw)
            except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
                fault = f"{type(error).__name__}: {error}"
            with self._lock:
                self.seen[name] += 1
                if fault:
                    self.wrong.append(f"{name}: {fault}")

    def same(self, number: int, text: str) -> str:
        """A fault where a prompt's greedy answer is another than the first time."""
        with self._lock:
            first = self._first.setdefault(number, text)
        return "" if first == text else f"prompt {number} was answered {text!r} after {first!r}"

    def ask(self, path: str, body: bytes | dict[str, Any]) -> http.client.HTTPResponse:
        """Send a request; the answer's head has come."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=_TIMEOUT)
        sent = body if isinstance(body, bytes) else json.dumps({"model": "soak"} | body).encode()
        connection.request("POST", path, sent, _HEADERS | {"Connection": "close"})
        return connection.getresponse()

    def json(self, path: str, **body: Any) -> Any:
        """A whole answer; ValueError where it is none."""
        answer = self.ask(path, body)
        text = answer.read()
        if answer.status != 200:
            raise ValueError(f"status {answer.status}: {text[:300]!r}")
        return json.loads(text)


def _prompt(draw: random.Random) -> tuple[int, dict[str, Any]]:
    """One of a few greedy requests, whose answers must never change."""
    number = draw.randrange(8)
    prompt = [40 + (number + place) % 50 for place in range(4 + 9 * number)]
    return number, {"prompt": prompt, "max_tokens": 8 + 3 * number, "temperature": 0}


def _whole(traffic: Traffic, draw: random.Random) -> str:
    number, asked = _prompt(draw)
    answer = traffic.json("/v1/completions", **asked)
    return traffic.same(number, answer["choices"][0]["text"])


def _stream(traffic: Traffic, draw: random.Random) -> str:
    number, asked = _prompt(draw)
    answer = traffic.ask("/v1/completions", asked | {"stream": True})
    lines = [line for line in answer.read().decode().split("\n\n") if line]
    if lines[-1] != "data: [DONE]":
        return f"a stream ended with {lines[-1]!r}"
    parts = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    return traffic.same(number, "".join(part["choices"][0]["text"] for part in parts))


def _left_stream(traffic: Traffic, draw: random.Random) -> str:
    body = {"prompt": "Once", "max_tokens": 200, "stream": True, "ignore_eos": True}
    answer = traffic.ask("/v1/completions", body | {"seed": draw.randrange(99)})
    for _ in range(draw.randrange(1, 12)):
        answer.readline()
    answer.close()
    return "" if answer.status == 200 else f"status {answer.status}"


def _left_answer(traffic: Traffic, draw: random.Random) -> str:
    connection = http.client.HTTPConnection(traffic.host, traffic.port, timeout=_TIMEOUT)
    body = {"model": "soak", "prompt": "Once", "max_tokens": 200, "ignore_eos": True}
    connection.request("POST", "/v1/completions", json.dumps(body), _HEADERS)
    time.sleep(draw.random() / 5)
    connection.close()
    return ""


def _wrong(traffic: Traffic, draw: random.Random) -> str:
    answer = traffic.ask("/v1/completions", draw.choice(_WRONG))
    error = json.loads(answer.read())["error"]
    return "" if answer.status == 400 and error["message"] else f"status {answer.status}: {error}"


def _structured(traffic: Traffic, draw: random.Random) -> str:
    asked = {"prompt": "A size as JSON:", "max_tokens": 40, "structured_outputs": {"json": _SCHEMA}}
    answer = traffic.json("/v1/completions", **asked, seed=draw.randrange(999))
    size = json.loads(answer["choices"][0]["text"])["size"]
    return "" if 0 <= size <= 99 else f"size {size}"


def _tool(traffic: Traffic, draw: random.Random) -> str:
    asked = {"messages": [{"role": "user", "content": "Resize it."}], "max_tokens": 80}
    asked |= {"tools": [_TOOL], "tool_choice": "required", "parallel_tool_calls": False}
    answer = traffic.json("/v1/chat/completions", **asked, seed=draw.randrange(999))
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    size = json.loads(call["function"]["arguments"])["size"]
    return "" if 0 <= size <= 99 else f"size {size}"


def _told(traffic: Traffic, draw: random.Random) -> str:
    asked = {"prompt": "Once upon", "max_tokens": 12, "logprobs": 5, "n": draw.randrange(1, 4)}
    answer = traffic.json("/v1/completions", **asked, ignore_eos=True)
    counts = {len(choice["logprobs"]["tokens"]) for choice in answer["choices"]}
    return "" if counts == {12} else f"log-probabilities of {counts} tokens, not of 12"


_KINDS: dict[str, Callable[[Traffic, random.Random], str]] = {
    "whole": _whole,
    "stream": _stream,
    "left stream": _left_stream,
    "left answer": _left_answer,
    "wrong": _wrong,
    "structured": _structured,
    "tool call": _tool,
    "log-probabilities": _told,
}
