"""The end of the OpenAI frontend: what it still has to send, and to whom."""

import asyncio
import socket
from types import SimpleNamespace

import uvicorn

from nacelle_runtime.frontends.openai import process

BYTES = 64 << 20


async def test_a_client_that_reads_slowly_has_the_rest_of_the_time(monkeypatch):
    """Its answer is written whole and far more than the system holds for it."""
    monkeypatch.setattr(process, "_LAST_WORDS_SECONDS", 0.1)
    listener = socket.create_server(("127.0.0.1", 0))
    server = process._Server(uvicorn.Config(large_answer, lifespan="off", log_level="error"))
    frontend = SimpleNamespace(
        draining=asyncio.Event(), core=SimpleNamespace(quiet=asyncio.Event())
    )
    tasks = [
        asyncio.create_task(server.serve(sockets=[listener])),
        asyncio.create_task(process._drain(frontend, server, seconds=60)),
    ]
    reader, writer = await asyncio.open_connection(*listener.getsockname(), limit=1 << 12)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    frontend.draining.set()
    frontend.core.quiet.set()
    await asyncio.sleep(1)
    assert not tasks[0].done(), "its process would end now, and what is not sent with it"
    assert len(await reader.readexactly(BYTES)) == BYTES
    writer.close()
    await asyncio.gather(*tasks)


async def large_answer(scope, receive, send):
    headers = [(b"content-length", b"%d" % BYTES)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": bytes(BYTES)})
