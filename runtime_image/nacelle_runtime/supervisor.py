"""Owns a server's processes: starts the core and the frontend, ends both when either ends.

SIGTERM or SIGINT: the frontend drains and ends, then the core, once the answers that other
frontends wait for have ended too. SIGUSR1, some time before: the frontend is no longer ready, and
its clients are asked to connect anew, to another server. The core ends unasked: requests get 503
from the frontend, and the supervisor ends with an error so that the pod restarts.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from nacelle_engine.errors import InvalidRequest
from nacelle_runtime.child import LEAVE
from nacelle_runtime.client import CoreClient, CoreLost
from nacelle_runtime.errors import CoreDied
from nacelle_runtime.settings import CoreSettings, FrontendSettings, encode
from nacelle_runtime.wire import Ready

CORE = "nacelle_runtime.core"
FRONTEND = "nacelle_runtime.frontends.openai.process"
# How long the frontend goes on answering 503 after the core's end, and a process may take to end.
_LAST_ANSWERS = 0.5
_ENDING = 10.0
# Between two looks at whether the core has requests.
_LOOK = 0.1


@dataclass(frozen=True)
class Server:
    """What to run: the settings of both processes, where to listen, and whom to tell it's ready."""

    core: CoreSettings
    frontend: FrontendSettings
    listener: socket.socket
    on_ready: Callable[[Ready], None]


def listen(host: str, port: int) -> socket.socket:
    """A bound TCP socket, so that an address in use is an error at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except (OSError, OverflowError):
        listener.close()
        raise
    return listener


def hear_signals() -> None:
    """Until `supervise` runs: SIGTERM ends the process, and SIGUSR1 waits for the frontend.

    A container's first process gets no signal that it does not handle: it would go on with its
    start until it is killed. Any other would be ended by SIGUSR1.
    """
    signal.signal(signal.SIGTERM, _end_now)
    # Children have it blocked too until they listen for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {LEAVE})


def _end_now(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


async def supervise(server: Server) -> int:
    """Run until told to end or until a process ends; gives the exit code."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    processes: list[Process] = []
    client = CoreClient()
    watches: list[asyncio.Task[None]] = []
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as core_listener:
            # Bound and listening before anybody connects: no one has to try again.
            _bind(core_listener, server.frontend.core_socket)
            core_listener.listen(128)
            # Connected as a frontend is: the core greets when it can serve.
            watches.append(asyncio.create_task(client.run(server.frontend.core_socket)))
            watches.append(asyncio.create_task(_tell_when_ready(server, client)))
            threads = {"OMP_NUM_THREADS": str(server.core.threads)}
            processes.append(await _start(CORE, server.core, core_listener, threads))
        with server.listener:
            processes.append(await _start(FRONTEND, server.frontend, server.listener, {}))
        core, frontend = processes
        asyncio.get_running_loop().add_signal_handler(LEAVE, _tell_to_leave, frontend)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {LEAVE})
        return await _follow(core, frontend, stop, server.frontend.drain_seconds, client)
    finally:
        for watch in watches:
            watch.cancel()
        for process in processes:
            await _end(process, within=0)


def _bind(listener: socket.socket, path: str) -> None:
    try:
        listener.bind(path)
        # A Triton server may be another user of the same group.
        Path(path).chmod(0o660)
    except OSError as error:
        raise InvalidRequest(
            f"--core-socket {path}: no socket can be made there: {error.strerror or error}"
        ) from error


async def _start(
    module: str,
    settings: CoreSettings | FrontendSettings,
    listener: socket.socket,
    environment: dict[str, str],
) -> Process:
    """A child process with its settings, the socket it accepts on, and our process id."""
    descriptor = listener.fileno()
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, encode(settings), str(descriptor), str(os.getpid())),
        pass_fds=(descriptor,),
        env=os.environ | environment,
    )


def _tell_to_leave(frontend: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        frontend.send_signal(LEAVE)


async def _follow(
    core: Process, frontend: Process, stop: asyncio.Event, drain_seconds: float, client: CoreClient
) -> int:
    """Wait for the first of: the order to stop, the core's end, the frontend's end."""
    waits = [asyncio.create_task(w) for w in (stop.wait(), core.wait(), frontend.wait())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    if stop.is_set():
        deadline = asyncio.get_running_loop().time() + drain_seconds
        await _end(frontend, within=drain_seconds + _ENDING)
        await _quiet(client, deadline)
        await _end(core)
        return 0
    if core.returncode is None:
        print(f"nacelle serve: the frontend ended with {frontend.returncode}", file=sys.stderr)
        return frontend.returncode or 1
    await asyncio.sleep(_LAST_ANSWERS)
    # It tells the running requests that the core is lost; killed, it would cut them off.
    await _end(frontend)
    if core.returncode < 0:
        name = signal.Signals(-core.returncode).name
        raise CoreDied(f"the core process was ended by {name}")
    return core.returncode or CoreDied.exit_code


async def _end(process: Process, within: float = _ENDING) -> None:
    """Ask a process to end, and make it end when it does not in time (s)."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(within):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _quiet(client: CoreClient, deadline: float) -> None:
    """Wait until the core has no requests, at most until the loop's clock shows `deadline`."""
    try:
        async with asyncio.timeout_at(deadline):
            while client.serving:
                stats = await client.stats()
                if not stats.waiting and not stats.running:
                    return
                await asyncio.sleep(_LOOK)
    except (TimeoutError, CoreLost):
        pass  # what still runs is cut off; or nothing runs any more


async def _tell_when_ready(server: Server, client: CoreClient) -> None:
    server.on_ready(await client.ready)
