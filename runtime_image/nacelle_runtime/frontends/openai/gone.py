"""Work for a client that may go away: then the work is cancelled."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, ClassVar, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

T = TypeVar("T")


class ClientGone(Exception):
    """Nobody is left to answer."""

    code: ClassVar[str] = "client_gone"


class ClientSlow(ClientGone):
    """It is given up: it takes nothing of its answer."""

    code: ClassVar[str] = "client_slow"


async def unless_gone(work: Coroutine[Any, Any, T], receive: Receive) -> T:
    """The result of the work; ClientGone as soon as the client closes its connection."""
    task = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(_closed(receive))
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        for each in (task, watcher):
            each.cancel()
        await asyncio.gather(task, watcher, return_exceptions=True)


class EventStream(Response):
    """Server-sent events; ends early when the client goes, or takes nothing for `patience` (s).

    `left` is called then, and `close` at the end, whatever the end.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncIterator[bytes],
        patience: float,
        left: Callable[[ClientGone], None],
        close: Callable[[], None],
    ) -> None:
        super().__init__(None, headers={"Cache-Control": "no-cache"})
        del self.headers["content-length"]
        self._events = events
        self._patience = patience
        self._left = left
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await unless_gone(self._send(send), receive)
        except ClientGone as gone:
            self._left(gone)
        finally:
            self._close()

    async def _send(self, send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        async for body in self._events:
            try:
                async with asyncio.timeout(self._patience):
                    await send({"type": "http.response.body", "body": body, "more_body": True})
            except TimeoutError:
                raise ClientSlow from None
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _closed(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
