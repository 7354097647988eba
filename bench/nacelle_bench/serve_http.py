"""Drives an OpenAI endpoint: prompts of token ids, answers streamed, one thread a request."""

import http.client
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from nacelle_bench.serve_figures import Engine, Run, Seen
from nacelle_bench.serve_load import Load
from nacelle_engine.errors import InvalidRequest

_TIMEOUT = 600.0


class HttpDriver:
    """A server by its URL, such as http://127.0.0.1:8000; `vocabulary` bounds the prompts' ids."""

    def __init__(self, url: str, model: str, vocabulary: int) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise InvalidRequest(f"{url} is no address such as http://127.0.0.1:8000")
        self._host, self._port = parts.hostname, parts.port or 80
        self._model = model
        self._vocabulary = vocabulary

    def drive(self, load: Load) -> Run:
        """Send the load's requests when they are due, and take their answers in."""
        load.check(load.prompt, load.prompt + load.answer)
        before = self._account()
        places = threading.Semaphore(load.most)
        start = time.monotonic()
        with ThreadPoolExecutor(load.most) as threads:
            futures = []
            for due, prompt in zip(load.times(), load.prompts(self._vocabulary), strict=True):
                places.acquire()
                time.sleep(max(start + due - time.monotonic(), 0.0))
                futures.append(threads.submit(self._ask, load, prompt, places))
            seen = [future.result() for future in futures]
        return Run(load, seen, before, self._account())

    def _ask(self, load: Load, prompt: list[int], places: threading.Semaphore) -> Seen:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT)
        body = json.dumps(self._body(load, prompt))
        seen = Seen(time.monotonic())
        try:
            connection.request("POST", "/v1/completions", body, _JSON)
            _take(connection.getresponse(), seen)
            if seen.failure is None and seen.tokens != load.answer:
                seen.failure = f"{seen.tokens} tokens came of {load.answer}"
        except (OSError, http.client.HTTPException) as error:
            seen.failure = f"{type(error).__name__}: {error}"
        finally:
            connection.close()
            places.release()
        return seen

    def _body(self, load: Load, prompt: list[int]) -> dict[str, Any]:
        sampling = load.sampling
        return {
            "model": self._model,
            "prompt": prompt,
            "max_tokens": load.answer,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "seed": sampling.seed,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    def _account(self) -> Engine:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        except OSError as error:
            raise InvalidRequest(
                f"http://{self._host}:{self._port}: no server answers there: {error}"
            ) from error
        finally:
            connection.close()
        return Engine(
            _metric(text, "nacelle_steps_total"),
            _metric(text, "nacelle_step_seconds_sum"),
            _metric(text, "nacelle_device_seconds_total"),
            _metric(text, "nacelle_device_idle_seconds_total"),
        )


_JSON = {"content-type": "application/json"}


def _take(response: http.client.HTTPResponse, seen: Seen) -> None:
    """Note when events come; the usage at the end says how many tokens they brought."""
    if response.status != 200:
        seen.failure = f"HTTP {response.status}: {response.read(500).decode(errors='replace')}"
        return
    for line in response:
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[len(b"data: ") :])
        if "error" in event:
            seen.failure = str(event["error"])
            return
        if event["choices"]:
            seen.arrivals.append(time.monotonic())
        if event.get("usage"):
            seen.tokens = event["usage"]["completion_tokens"]


def _metric(text: str, name: str) -> float:
    found = re.search(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
    if found is None:
        raise InvalidRequest(f"the server has no metric {name}: it is no nacelle of this version")
    return float(found[1])
