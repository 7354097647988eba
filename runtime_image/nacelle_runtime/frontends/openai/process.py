"""A frontend process: `python -m nacelle_runtime.frontends.openai.process SETTINGS FD PARENT`."""

import asyncio
import resource
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
from nacelle_runtime import logs
from nacelle_runtime.child import LEAVE, die_with_parent
from nacelle_runtime.client import CoreClient
from nacelle_runtime.frontends.openai.api_keys import ApiKeys
from nacelle_runtime.frontends.openai.app import make_app
from nacelle_runtime.frontends.openai.connection import Connection, keep_deadlines
from nacelle_runtime.frontends.openai.frontend import ClientBounds, Frontend
from nacelle_runtime.frontends.openai.leaving import Leaving
from nacelle_runtime.frontends.openai.prompts import Model
from nacelle_runtime.frontends.openai.story import Stories, Traces
from nacelle_runtime.frontends.openai.tls import Tls
from nacelle_runtime.frontends.tokenizer import Tokenizer
from nacelle_runtime.frontends.watchdog import Watchdog, watch
from nacelle_runtime.settings import FrontendSettings
from nacelle_runtime.termination import leave_failure

# Abandoned answers end with an error, which takes no longer to send.
_LAST_WORDS_SECONDS = 5.0


class _Server(uvicorn.Server):
    """uvicorn, with the signals left to us: it would close the door before it drains."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM and drained; an error of ours ends with its exit code."""
    die_with_parent(int(arguments[2]))
    _allow_connections()
    settings = msgspec.json.decode(arguments[0], type=FrontendSettings)
    logs.configure(settings.log_format, "openai")
    try:
        asyncio.run(_serve(settings, socket.socket(fileno=int(arguments[1]))))
    except NacelleError as error:
        logs.last_words(error, settings.log_format)
        leave_failure(settings.termination_log, error)
        return error.exit_code
    return 0


def _allow_connections() -> None:
    """As many as the system grants: the usual soft limit, 1,024, is for programs that select()."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _serve(settings: FrontendSettings, listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    core = CoreClient()
    connection = loop.create_task(core.run(settings.core_socket))
    frontend = _frontend(settings, core)
    tls = _tls(settings)
    app = Stories(make_app(frontend), told=settings.access_log, traces=frontend.traces)
    config = uvicorn.Config(
        Leaving(app, frontend.leaving),
        http=Connection,
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        # It is handed to the event loop, which takes fractions.
        timeout_keep_alive=settings.keep_alive_seconds,  # type: ignore[arg-type]
        server_header=False,
        ssl_context_factory=(lambda *_: tls.context) if tls else None,
    )
    server = _Server(config)
    loop.add_signal_handler(signal.SIGTERM, frontend.drain)
    loop.add_signal_handler(LEAVE, frontend.leaving.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {LEAVE})
    tasks = [
        connection,
        loop.create_task(_drain(frontend, server, settings.drain_seconds)),
        loop.create_task(watch(core, frontend.watchdog)),
        loop.create_task(
            keep_deadlines(
                server.server_state.connections,
                receive=settings.receive_seconds,
                read=settings.read_seconds,
            )
        ),
    ]
    if tls:
        tasks.append(loop.create_task(tls.keep_fresh()))
    await server.serve(sockets=[listener])
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if frontend.traces is not None:
        await asyncio.to_thread(frontend.traces.close)


async def _drain(frontend: Frontend, server: uvicorn.Server, seconds: float) -> None:
    """Once draining: wait for the running answers, at most so long, then end the server.

    What is left of the time belongs to clients that have not yet taken all of their answers.
    """
    await frontend.draining.wait()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    try:
        async with asyncio.timeout_at(deadline):
            await frontend.core.quiet.wait()
    except TimeoutError:
        frontend.core.abandon()
    left = max(_LAST_WORDS_SECONDS, deadline - loop.time())
    server.config.timeout_graceful_shutdown = left  # type: ignore[assignment]
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
        watchdog=Watchdog(settings.step_deadline_seconds),
        bounds=ClientBounds(
            settings.max_body_bytes, settings.receive_seconds, settings.read_seconds
        ),
        started=int(time.time()),
        traces=_traces() if settings.traces else None,
    )


def _tls(settings: FrontendSettings) -> Tls | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return Tls(Path(settings.tls_certificate), Path(settings.tls_key))


def _traces() -> Traces:
    """Imported where they are wanted only: the SDK's import takes a third of a second."""
    from nacelle_runtime.frontends.openai.tracing import Tracing

    return Tracing()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
