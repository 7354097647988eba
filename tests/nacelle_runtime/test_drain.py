"""The end of the OpenAI frontend: what it still has to send, and to whom."""

import asyncio
import socket
import ssl
from types import SimpleNamespace

import pytest
import uvicorn
from certificates import make_certificate

from nacelle_runtime.frontends.openai import connection, process
from nacelle_runtime.frontends.openai.tls import Tls

BYTES = 64 << 20


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def tls(request, tmp_path):
    """Both sides' contexts; None without TLS."""
    if not request.param:
        return None
    certificate = make_certificate(tmp_path)
    trusted = ssl.create_default_context(cafile=str(certificate))
    return Tls(certificate, certificate.with_suffix(".key")).context, trusted


async def test_a_client_that_reads_slowly_has_the_rest_of_the_time(monkeypatch, tls):
    """Its answer is written whole and far more than the system holds for it."""
    monkeypatch.setattr(process, "_LAST_WORDS_SECONDS", 0.1)
    # At every moment of its end the connection is looked at.
    monkeypatch.setattr(connection, "_PERIOD", 0)
    listener = socket.create_server(("127.0.0.1", 0))
    settings = {"http": connection.Connection, "lifespan": "off", "log_level": "error"}
    if tls is not None:
        settings["ssl_context_factory"] = lambda *_: tls[0]
    server = process._Server(uvicorn.Config(large_answer, **settings))
    frontend = SimpleNamespace(
        draining=asyncio.Event(), core=SimpleNamespace(quiet=asyncio.Event())
    )
    tasks = [
        asyncio.create_task(server.serve(sockets=[listener])),
        asyncio.create_task(process._drain(frontend, server, seconds=60)),
    ]
    connections = server.server_state.connections
    sweeping = asyncio.create_task(connection.keep_deadlines(connections, receive=60, read=60))
    reader, writer = await asyncio.open_connection(
        *listener.getsockname(), limit=1 << 12, ssl=tls and tls[1]
    )
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    frontend.draining.set()
    frontend.core.quiet.set()
    await asyncio.sleep(1)
    assert not tasks[0].done(), "its process would end now, and what is not sent with it"
    assert len(await reader.readexactly(BYTES)) == BYTES
    writer.close()
    await asyncio.gather(*tasks)
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)


async def large_answer(scope, receive, send):
    headers = [(b"content-length", b"%d" % BYTES)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": bytes(BYTES)})
