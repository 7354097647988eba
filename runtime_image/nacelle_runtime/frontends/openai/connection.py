"""A connection of the HTTP server: every client has deadlines, every error the API's form."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterable
from typing import Any, Final

import h11
import msgspec
from uvicorn.protocols.http.h11_impl import H11Protocol

from nacelle_runtime.frontends.openai.errors import ApiError

_PERIOD: Final = 0.5


class Connection(H11Protocol):
    """uvicorn's connection, and what it has no deadline for; see `sweep`."""

    # The head that is awaited: the answer before it, and since when.
    _awaited: tuple[Any, float] | None = None
    _closing: float | None = None

    def sweep(self, now: float, *, receive: float, read: float) -> None:
        """Close what takes too long, by a monotonic clock (s).

        A request's head may take `receive` seconds, from the connection's begin or its own first
        byte; so may the rest of a body that nobody waits for. Between two requests uvicorn's
        keep-alive counts. What a closing connection still has to send may take `read` seconds.
        """
        if self.transport.is_closing():
            self._closing = now if self._closing is None else self._closing
            if now - self._closing > read:
                self.transport.abort()
            else:
                self._end_tls()
        elif not self._awaits():
            self._awaited = None
        elif self._awaited is None or self._awaited[0] is not self.cycle:
            self._awaited = (self.cycle, now)
        elif now - self._awaited[1] > receive:
            self._refuse(ApiError(408, f"the request did not come within {receive:g} s"))

    def _end_tls(self) -> None:
        """Do not wait for the client's word that it closes too, which asyncio does for 30 seconds.

        One that keeps a connection for later says nothing before it looks at it again.
        """
        tls = self.transport.get_extra_info("ssl_object") is not None
        if tls and not self.transport.get_write_buffer_size():
            # All is encrypted. What is still to be sent is sent, as if the client had closed.
            with contextlib.suppress(OSError):
                self.transport.get_extra_info("socket").shutdown(socket.SHUT_RD)

    def _awaits(self) -> bool:
        """Whether the client is to send: its first head, or the rest of what it has begun."""
        if self.cycle is None:
            return True
        if not self.cycle.response_complete:
            return False
        return self.conn.their_state is not h11.IDLE or bool(self.conn.trailing_data[0])

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP is told so in the API's form."""
        self._refuse(ApiError(400, msg, code="invalid_http"))

    def _refuse(self, error: ApiError) -> None:
        """Say why, where an answer can still be said, and close."""
        if self.conn.our_state is h11.IDLE:
            body = msgspec.json.encode(error.body())
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            start = h11.Response(status_code=error.status, headers=headers, reason=b"")
            for event in (start, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


async def keep_deadlines(connections: Iterable[Any], *, receive: float, read: float) -> None:
    """Look at a server's connections again and again, for ever."""
    while True:
        now = time.monotonic()
        for connection in list(connections):
            connection.sweep(now, receive=receive, read=read)
        await asyncio.sleep(_PERIOD)
