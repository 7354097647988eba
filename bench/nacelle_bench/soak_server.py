"""A whole server of its own over a bundle: `nacelle serve`, its address and its processes."""

import contextlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nacelle_engine.errors import TemporaryError

SERVE: tuple[str, ...] = (sys.executable, "-m", "nacelle_cli.main", "serve")
_STARTING = 300.0
# The server drains for up to 30 s by default.
_ENDING = 60.0
_LAST_WORDS = 5.0
_URL = re.compile(r"^URL +http://(\S+?):(\d+)/v1$", re.MULTILINE)


@dataclass(frozen=True)
class SoakServer:
    """Where it listens, and the process ids by what they are."""

    host: str
    port: int
    processes: dict[str, int]


@contextlib.contextmanager
def serving(bundle: Path, flags: Sequence[str]) -> Iterator[SoakServer]:
    """A ready server; it is ended at the end, and TemporaryError tells of a bad one."""
    with tempfile.TemporaryDirectory(prefix="nacelle-soak-") as folder:
        said = Path(folder) / "stderr"
        with said.open("wb") as stderr:
            command = [*SERVE, str(bundle), "--port", "0", *flags]
            process = subprocess.Popen(command, stderr=stderr)
        try:
            host, port = _address(process, said)
            yield SoakServer(host, port, {"supervisor": process.pid, **_children(process.pid)})
        except TemporaryError as error:
            raise TemporaryError(f"{error}: {_last_words(process, said)}") from error
        finally:
            process.terminate()
            try:
                code = process.wait(_ENDING)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
        if code != 0:
            raise TemporaryError(f"the server ended with {code}: {_last_words(process, said)}")


def _last_words(process: subprocess.Popen[bytes], said: Path) -> str:
    """What it wrote at its end, which may be a moment away."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_LAST_WORDS)
    return said.read_text()[-2000:]


def _address(process: subprocess.Popen[bytes], said: Path) -> tuple[str, int]:
    deadline = time.monotonic() + _STARTING
    while (found := _URL.search(said.read_text())) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            raise TemporaryError("the server did not come up")
        time.sleep(0.05)
    return found[1], int(found[2])


def _children(parent: int) -> dict[str, int]:
    """The core's and the frontend's process ids."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            module = (folder / "cmdline").read_bytes().split(b"\0")[2]
        except (OSError, IndexError):
            continue
        if int(status[1]) == parent:
            found["core" if module.endswith(b"core") else "frontend"] = int(folder.name)
    return found
