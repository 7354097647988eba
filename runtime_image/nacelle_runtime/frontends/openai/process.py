"""A frontend process: `python -m nacelle_runtime.frontends.openai.process SETTINGS FD PARENT`."""

import asyncio
import logging
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import uvicorn

from nacelle_engine.bundle import read_bundle
from nacelle_engine.errors import NacelleError
from nacelle_runtime.child import die_with_parent
from nacelle_runtime.client import CoreClient
from nacelle_runtime.frontends.openai.api_keys import ApiKeys
from nacelle_runtime.frontends.openai.app import make_app
from nacelle_runtime.frontends.openai.frontend import Frontend
from nacelle_runtime.frontends.openai.prompts import Model
from nacelle_runtime.frontends.tokenizer import Tokenizer
from nacelle_runtime.settings import FrontendSettings
from nacelle_runtime.termination import leave_failure


class _Server(uvicorn.Server):
    """uvicorn, with the signals left to us: it would close the door before it drains."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM and drained; an error of ours ends with its exit code."""
    die_with_parent(int(arguments[2]))
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    settings = msgspec.json.decode(arguments[0], type=FrontendSettings)
    try:
        asyncio.run(_serve(settings, socket.socket(fileno=int(arguments[1]))))
    except NacelleError as error:
        print(f"nacelle serve: {error.code}: {error}", file=sys.stderr)
        leave_failure(settings.termination_log, error)
        return error.exit_code
    return 0


async def _serve(settings: FrontendSettings, listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    core = CoreClient()
    connection = loop.create_task(core.run(settings.core_socket))
    frontend = _frontend(settings, core)
    config = uvicorn.Config(
        make_app(frontend),
        lifespan="off",
        log_level="warning",
        access_log=settings.access_log,
        timeout_graceful_shutdown=5,
        server_header=False,
    )
    server = _Server(config)
    loop.add_signal_handler(signal.SIGTERM, frontend.draining.set)
    drain = loop.create_task(_drain(frontend, server, settings.drain_seconds))
    await server.serve(sockets=[listener])
    for task in (drain, connection):
        task.cancel()
    await asyncio.gather(drain, connection, return_exceptions=True)


async def _drain(frontend: Frontend, server: uvicorn.Server, seconds: float) -> None:
    """Once draining: wait for the running answers, at most so long, then end the server."""
    await frontend.draining.wait()
    try:
        async with asyncio.timeout(seconds):
            await frontend.core.quiet.wait()
    except TimeoutError:
        frontend.core.abandon()
    server.should_exit = True


def _frontend(settings: FrontendSettings, core: CoreClient) -> Frontend:
    bundle = read_bundle(Path(settings.bundle))
    keys = ApiKeys(Path(settings.api_keys_file)) if settings.api_keys_file else None
    return Frontend(
        model=Model(
            settings.model_name, bundle.manifest.eos_token_ids, Tokenizer(bundle.tokenizer)
        ),
        core=core,
        keys=keys,
        max_body_bytes=settings.max_body_bytes,
        started=int(time.time()),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
