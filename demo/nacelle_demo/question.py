"""A question to a served model, through its Service, answered as a stream."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import urllib3
from kubernetes import config
from kubernetes.client import ApiClient

from nacelle_demo.errors import DemoError


@dataclass(frozen=True)
class Endpoint:
    """A Service's port, reached through the API server, so that it works from anywhere."""

    kubeconfig: Path
    namespace: str
    service: str
    port: int = 8000

    def open(
        self, path: str, body: dict[str, object] | None = None, *, timeout: float = 60.0
    ) -> urllib3.BaseHTTPResponse:
        """POST a JSON body to a path of the service (GET without one); the body is not read."""
        client = self._client
        base = f"/api/v1/namespaces/{self.namespace}/services/{self.service}:{self.port}/proxy"
        response: urllib3.BaseHTTPResponse = client.rest_client.pool_manager.request(
            "GET" if body is None else "POST",
            client.configuration.host + base + path,
            body=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            # Of a body with a length the API server's proxy (Go's ReverseProxy) sends the last byte
            # before it has seen the end: an answer that begins between the two it gives up in its
            # midst (golang/go#40747). After a last chunk there is nothing left to see.
            chunked=body is not None,
            timeout=urllib3.Timeout(connect=5.0, read=timeout),
            preload_content=False,
            retries=False,
        )
        return response

    @cached_property
    def _client(self) -> ApiClient:
        # One for all questions: its connections stay open.
        client: ApiClient = config.new_client_from_config(  # type: ignore[no-untyped-call]
            config_file=str(self.kubeconfig)
        )
        return client

    def ask(self, model: str, question: str, *, max_tokens: int = 48) -> Iterator[str]:
        """The pieces of the answer to one chat message, as they come."""
        body: dict[str, object] = {
            "model": model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
        }
        try:
            response = self.open("/v1/chat/completions", body)
            if response.status != 200:
                raise DemoError(f"the service answered {response.status}: {response.data.decode()}")
            yield from _pieces(response)
        except urllib3.exceptions.HTTPError as error:
            raise DemoError(f"the answer of {self.namespace}/{self.service}: {error}") from error


def _pieces(response: urllib3.BaseHTTPResponse) -> Iterator[str]:
    """The text deltas of a stream of server-sent events."""
    pending = b""
    for chunk in response.stream(amt=None if response.chunked else 256):
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data: ") and line.strip() != b"data: [DONE]":
                event = json.loads(line.removeprefix(b"data: "))
                if "error" in event:
                    raise DemoError(f"the service gave up: {event['error']['message']}")
                yield event["choices"][0]["delta"].get("content") or ""
