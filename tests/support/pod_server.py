"""HTTP servers that stand where pods would, and the address of this machine that others reach."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import NamedTuple

Answer = Callable[[BaseHTTPRequestHandler], None]


class PodServer(NamedTuple):
    """Where one answers, and the paths that it was asked for."""

    address: str
    port: int
    asked: list[str]


class _Server(ThreadingTCPServer):
    """Not http.server's own, which asks for this machine's name first."""

    daemon_threads = True
    request_queue_size = 64


@contextlib.contextmanager
def pod_server(
    answer: Answer, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> Iterator[PodServer]:
    """A server that answers every GET so."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            with contextlib.suppress(OSError):
                answer(self)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = _Server((address, 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield PodServer(address, server.server_address[1], asked)
    finally:
        server.shutdown()
        thread.join(timeout=5)
        server.server_close()


def says(body: bytes, status: int = 200) -> Answer:
    """The answer with this body."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return answer


def outside_address() -> str:
    """The address of this machine on its way out: pods may not have a loopback one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        way.connect(("198.51.100.1", 9))  # nothing is sent
        return str(way.getsockname()[0])
