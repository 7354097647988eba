"""A server that is about to end: answers go on, each the last of its connection."""

import asyncio

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Leaving:
    """Once `leaving` is set, every answer asks its client to connect anew.

    A Service sends new connections elsewhere by then, but leaves those that are kept open: without
    this, a client that asks again and again would do so until the server refuses it.
    """

    def __init__(self, app: ASGIApp, leaving: asyncio.Event) -> None:
        self._app = app
        self._leaving = leaving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""

        async def send_closing(message: Message) -> None:
            if message["type"] == "http.response.start" and self._leaving.is_set():
                # The HTTP server closes after such an answer.
                MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        await self._app(scope, receive, send_closing)
