"""The HTTP server that answers clients while no pod does: 503 and when to try again.

It holds no request back: clients retry by themselves, and nothing here can run full. Every answer
ends its connection, so that the next request goes where the Service then leads.
"""

import contextlib
import io
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from nacelle_operator.activator.knocks import Knocks

RETRY_SECONDS: Final = 10
WAITING_PATH: Final = "/waiting"
HEALTH_PATH: Final = "/healthz"
_MAX_CONNECTIONS: Final = 256
_ROOM_SECONDS: Final = 0.5
# For a request's head, and for its body once more.
_READ_SECONDS: Final = 10.0
# A request's body is read past and dropped, within these bounds, before the connection ends: to
# end it under a client that still sends could take the answer from it.
_LINGER_SECONDS: Final = 2.0
_LINGER_BYTES: Final = 8 << 20


class ActivatorServer(ThreadingHTTPServer):
    """Answers for the InferenceDeployment of this name until shut down; port 0 takes a free one."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, name: str, knocks: Knocks) -> None:
        super().__init__(("", port), _Handler)
        self.deployment = name
        self.knocks = knocks
        self._room = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        self._ends = threading.Event()

    def shutdown(self) -> None:
        """Stop answering, also while there is no room."""
        self._ends.set()
        super().shutdown()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Wait for room before a thread is started."""
        while not self._room.acquire(timeout=_ROOM_SECONDS):
            if self._ends.is_set():
                self.shutdown_request(request)
                return
        try:
            super().process_request(request, client_address)
        except Exception:
            # No thread could be started, which would have given it back.
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one connection, and give its room back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()


class _InTime(io.RawIOBase):
    """What a connection brings within `seconds` in all: a client that drips holds none open."""

    def __init__(self, connection: socket.socket, seconds: float, silence: float) -> None:
        super().__init__()
        self._connection = connection
        self._until = time.monotonic() + seconds
        self._silence = silence

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """The next bytes; TimeoutError when the time is over, or after a silence."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the client takes too long")
        self._connection.settimeout(min(left, self._silence))
        return self._connection.recv_into(buffer)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ActivatorServer

    def setup(self) -> None:
        """As ever, but for the time that a request may take to come."""
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_InTime(self.connection, _READ_SECONDS, _READ_SECONDS))

    def do_GET(self) -> None:
        """Tell the autoscaler and the kubelet; anybody else that nothing is woken by a look."""
        path = self.path.partition("?")[0]
        if path == HEALTH_PATH:
            self._answer(200, {"status": "ok"})
        elif path == WAITING_PATH:
            self._answer(200, {"waiting": self.server.knocks.waiting})
        else:
            name = self.server.deployment
            self._refuse(f"{name} is asleep: no replica answers. A POST request wakes it")

    def do_HEAD(self) -> None:
        """As GET."""
        self.do_GET()

    def do_OPTIONS(self) -> None:
        """As GET."""
        self.do_GET()

    def do_POST(self) -> None:
        """Count it: this is what asks for answers."""
        self.server.knocks.count()
        again = f"no replica answers yet; try again in {RETRY_SECONDS} seconds"
        self._refuse(f"{self.server.deployment} is waking up: {again}")

    def _refuse(self, message: str) -> None:
        """503 as the runtime's own errors are: OpenAI's form."""
        error = {"message": message, "type": "server_error", "param": None, "code": "waking_up"}
        self._answer(503, {"error": error}, {"Retry-After": str(RETRY_SECONDS)})

    def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        sent = {"Content-Type": "application/json", "Content-Length": str(len(payload))}
        for name, value in {**sent, **(headers or {}), "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)
        self._linger()

    def _linger(self) -> None:
        """Say that no more comes, and drop what the client still sends."""
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            rest, left = _InTime(self.connection, _READ_SECONDS, _LINGER_SECONDS), _LINGER_BYTES
            while left > 0 and (piece := rest.read(65536)):
                left -= len(piece)

    def log_message(self, format: str, *args: object) -> None:
        """Looks every few seconds are not worth a line."""
