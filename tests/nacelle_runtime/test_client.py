"""A frontend's side of the core's socket, with a core that only greets."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from nacelle_runtime.client import CoreClient, Generation
from nacelle_runtime.request import Ending, Sampling
from nacelle_runtime.wire import Ready, frame


@asynccontextmanager
async def connected(folder):
    """A client of a core that is ready and answers nothing."""

    async def greet(reader, writer):
        writer.write(frame(Ready("k", 300, 400, 260, 1000, 1, 0.0, "")))
        while await reader.read(1 << 16):
            pass
        writer.close()
        gone.set()

    gone = asyncio.Event()

    path = str(folder / "core.sock")
    async with await asyncio.start_unix_server(greet, path):
        client = CoreClient()
        connection = asyncio.create_task(client.run(path))
        await client.ready
        yield client
        connection.cancel()
        await asyncio.gather(connection, return_exceptions=True)
        await gone.wait()


async def test_a_request_that_cannot_be_sent_is_not_waited_for(tmp_path):
    """A frontend that drains waits until its client is quiet."""
    async with connected(tmp_path) as client:
        with pytest.raises(OverflowError):
            client.submit(Generation([1], Sampling(top_k=1 << 64), Ending(1)))
        assert (client.running, client.quiet.is_set()) == (0, True)
        answer = client.submit(Generation([1], Sampling(), Ending(1)))
        assert (client.running, client.quiet.is_set()) == (1, False)
        answer.close()
        assert (client.running, client.quiet.is_set()) == (0, True)
