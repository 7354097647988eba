"""A core of its own over a bundle, for as long as it is driven."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nacelle_engine.errors import TemporaryError
from nacelle_engine.openmp import limit_waiting
from nacelle_runtime import supervisor
from nacelle_runtime.settings import CoreSettings, encode

_ENDING = 10.0


@contextlib.contextmanager
def own_core(settings: CoreSettings) -> Iterator[Path]:
    """Start a core that listens at the path given; it is ended at the end."""
    with tempfile.TemporaryDirectory(prefix="nacelle-") as folder:
        path = Path(folder) / "core.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(path))
            listener.listen(1)
            process = _start(settings, listener)
        try:
            yield path
        except TemporaryError as error:
            if process.poll() is None:
                raise
            raise TemporaryError(f"the core ended with {process.returncode}: {error}") from error
        finally:
            _end(process)


def _start(settings: CoreSettings, listener: socket.socket) -> subprocess.Popen[bytes]:
    descriptor = listener.fileno()
    environment = os.environ | {"OMP_NUM_THREADS": str(settings.threads)}
    limit_waiting(environment)
    return subprocess.Popen(
        [
            *(sys.executable, "-m", supervisor.CORE),
            *(encode(settings), str(descriptor), str(os.getpid())),
        ],
        pass_fds=(descriptor,),
        env=environment,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_ENDING)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
