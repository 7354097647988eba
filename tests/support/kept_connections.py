"""Requests over TLS connections that stay open: opening each costs a client 25 ms of CPU."""

import http.client
import io
import select
import ssl
import urllib.error
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class KeptConnections:
    """Connections to a server on loopback, whose certificate nobody checks; for many threads."""

    port: int
    _idle: list[http.client.HTTPSConnection] = field(default_factory=list)
    _context: ssl.SSLContext = field(default_factory=lambda: _unchecked())

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout: float,
    ) -> bytes:
        """What a request is answered with, within `timeout` seconds for each of its steps.

        Raises urllib.error.HTTPError where the status says so, another OSError or an
        http.client.HTTPException where there is no whole answer.
        """
        connection = self._take(timeout)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            read = answer.read()
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        if answer.status >= 400:
            url = f"https://{connection.host}:{self.port}{path}"
            raise urllib.error.HTTPError(
                url, answer.status, answer.reason, answer.headers, io.BytesIO(read)
            )
        return read

    def close(self) -> None:
        """End those that nobody uses."""
        while self._idle:
            self._idle.pop().close()

    def _take(self, timeout: float) -> http.client.HTTPSConnection:
        """One that its server has not ended, or a new one, which connects when it is used."""
        while self._idle:
            connection = self._idle.pop()
            if connection.sock is not None and not _has_ended(connection.sock):
                connection.sock.settimeout(timeout)
                return connection
            connection.close()
        return http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=timeout, context=self._context
        )


def _has_ended(sock: ssl.SSLSocket) -> bool:
    # Between two answers a server has nothing to say but farewell.
    return bool(select.select([sock], [], [], 0)[0])


def _unchecked() -> ssl.SSLContext:
    # Not ssl.create_default_context(): it reads the authorities of the whole world first.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
