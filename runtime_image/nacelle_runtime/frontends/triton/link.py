"""A model's connection to the core, on an event loop in a thread of its own.

Triton calls a model from its own thread; everything about answers happens on this loop.
"""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from nacelle_runtime.client import CoreClient
from nacelle_runtime.frontends.triton.errors import Code, NotAnswered
from nacelle_runtime.wire import Ready

T = TypeVar("T")
# Between two tries to reach a core that is not there (s).
_AGAIN = 0.2
_ENDING = 5.0


class CoreLink:
    """Stays connected to the core at a socket, also over the core's restarts."""

    def __init__(self, socket: str, engine_key: str) -> None:
        self._socket = socket
        self._key = engine_key
        self._client: CoreClient | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="core", daemon=True)
        self._thread.start()
        self._keeping = self.start(self._keep())

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def wait(self, seconds: float) -> Ready:
        """Wait for the core to be ready; NotAnswered when it is not in time, or another engine."""

        async def serving() -> None:
            async with asyncio.timeout(seconds):
                while self._client is None or self._client.serving is None:
                    await asyncio.sleep(_AGAIN)

        try:
            self.start(serving()).result()
        except TimeoutError:
            raise NotAnswered(
                Code.UNAVAILABLE, f"no core is ready at {self._socket} after {seconds:g} s"
            ) from None
        return self.ready

    @property
    def client(self) -> CoreClient:
        """The connection, for use on the loop; NotAnswered when there is none."""
        client = self._client
        ready = client.serving if client else None
        if client is None or ready is None:
            raise NotAnswered(Code.UNAVAILABLE, f"no core is ready at {self._socket}")
        if ready.engine_key != self._key:
            raise NotAnswered(
                Code.UNAVAILABLE,
                f"the core serves engine {ready.engine_key[:16]}, this repository was written "
                f"for {self._key[:16]}: write it anew",
            )
        return client

    @property
    def ready(self) -> Ready:
        """What the core serves; NotAnswered as `client`."""
        ready = self.client.serving
        if ready is None:
            raise NotAnswered(Code.UNAVAILABLE, f"no core is ready at {self._socket}")
        return ready

    def close(self) -> None:
        """End what runs on the loop, and the loop."""
        self.start(self._end()).result(_ENDING)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_ENDING)

    async def _keep(self) -> None:
        while True:
            self._client = CoreClient()
            await self._client.run(self._socket)
            await asyncio.sleep(_AGAIN)

    async def _end(self) -> None:
        """Cancel every task but this one, and see them end."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
