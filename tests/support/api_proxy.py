"""A proxy before a real API server: notes every call, and answers wrongly or never if told."""

import contextlib
import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

from control_plane import ControlPlane

Fault = int | Literal["hang", "lost"] | None
"""What becomes of a call: this status; no answer; carried out, and the connection closed; None."""
_WRITES = ("POST", "PUT", "PATCH", "DELETE")
_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


@dataclass(frozen=True)
class Call:
    """A call that has come, with its monotonic second; `fault` is what became of it."""

    at: float
    method: str
    path: str
    fault: Fault

    @property
    def is_write(self) -> bool:
        return self.method in _WRITES and "/leases" not in self.path


@dataclass
class ApiProxy:
    """Listens on a port of its own; `fault` decides on each call by method and path."""

    plane: ControlPlane
    folder: Path
    fault: Callable[[str, str], Fault] = lambda method, path: None
    calls: list[Call] = field(default_factory=list)
    # Streams that are open now say nothing any more, and stay open.
    _silenced: threading.Event = field(default_factory=threading.Event)
    frozen: threading.Event = field(default_factory=threading.Event)
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    def silence_streams(self) -> None:
        """Watches that are open stop telling; those that are begun after tell."""
        self._silenced.set()
        self._silenced = threading.Event()

    def writes(self) -> list[Call]:
        """The writes so far, but for those of leases."""
        return [call for call in list(self.calls) if call.is_write]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Pass a call on, or do what `fault` says."""
        method, path = request.command, request.path
        fault = "hang" if self.frozen.is_set() else self.fault(method, path)
        self.calls.append(Call(time.monotonic(), method, path, fault))
        length = int(request.headers.get("Content-Length", 0))
        body = request.rfile.read(length) if length else None
        if fault == "hang":
            self._over.wait()
        elif isinstance(fault, int):
            said = json.dumps({"kind": "Status", "message": "told to fail", "code": fault}).encode()
            request.send_response(fault)
            request.send_header("Content-Length", str(len(said)))
            if fault == 429:
                request.send_header("Retry-After", "1")
            request.end_headers()
            request.wfile.write(said)
        else:
            self._pass_on(request, body, answers=fault is None)

    def _pass_on(
        self, request: BaseHTTPRequestHandler, body: bytes | None, *, answers: bool
    ) -> None:
        silenced = self._silenced
        host, _, port = self.plane.server.removeprefix("https://").partition(":")
        context = ssl._create_unverified_context()
        upstream = http.client.HTTPSConnection(host, int(port), timeout=300, context=context)
        try:
            headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP}
            upstream.request(request.command, request.path, body, headers)
            found = upstream.getresponse()
            if not answers:
                found.read()
                request.close_connection = True
                return
            request.send_response(found.status)
            for name, value in found.getheaders():
                if name.lower() not in _HOP:
                    request.send_header(name, value)
            request.send_header("Transfer-Encoding", "chunked")
            request.end_headers()
            while piece := found.read1(1 << 16):
                if silenced.is_set() or self.frozen.is_set():
                    self._over.wait()
                    return
                request.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                request.wfile.flush()
            request.wfile.write(b"0\r\n\r\n")
        finally:
            upstream.close()

    @contextlib.contextmanager
    def running(self) -> Iterator["ApiProxy"]:
        """At work until the end; whatever hangs is let go then."""
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    proxy.answer(self)

            def log_message(self, format: str, *args: object) -> None: ...

        for method in ("GET", *_WRITES):
            setattr(Handler, f"do_{method}", Handler._answer)
        server = _Server(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        keys = self.plane.folder / "certificates"
        context.load_cert_chain(keys / "apiserver.crt", keys / "apiserver.key")
        server.context = context
        self.folder.mkdir(parents=True, exist_ok=True)
        config: dict[str, Any] = json.loads(self.plane.kubeconfig.read_text())
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{server.server_port}"
        self.kubeconfig.write_text(json.dumps(config))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            server.shutdown()
            server.server_close()
            thread.join()


class _Server(ThreadingHTTPServer):
    """Speaks TLS, with the handshake in the connection's own thread."""

    daemon_threads = True
    context: ssl.SSLContext

    def finish_request(self, request: Any, client_address: Any) -> None:
        # A client that is killed says no farewell.
        with (
            contextlib.suppress(OSError),
            self.context.wrap_socket(request, server_side=True) as secured,
        ):
            super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None: ...
