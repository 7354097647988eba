"""A real Triton server from the nvidia-pytriton wheel, in a virtual environment of its own.

The wheel wants numpy below 2, so its environment is apart; it is made once for each content of
requirements/triton-server.txt and kept under ${NACELLE_CACHE}/tests/triton-server.
"""

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import httpx
from kept_folder import kept_folder

from nacelle_cluster import debian

LOCK = Path(__file__).parents[2] / "requirements" / "triton-server.txt"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
DEADLINE = 60


def environment():
    """The environment's folder; made when it is not there."""
    digest = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:16]
    return kept_folder("triton-server", digest, _make_environment)


def _make_environment(folder):
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--no-deps"]
    wanted = ["--require-hashes", "--only-binary", ":all:", "-r", str(LOCK)]
    subprocess.run([*pip, *wanted], check=True)


def libpython():
    """The folder of libpython, which the Python backend's process is linked with."""
    name = f"libpython{PYTHON}.so.1.0"
    folders = (
        sysconfig.get_config_var("LIBDIR"),
        f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}",
    )
    found = next((f for f in folders if (Path(f) / name).exists()), None)
    return found or str(_unpacked(name).parent)


def _unpacked(name):
    """The library out of Debian's package, unpacked aside and installed nowhere."""
    folder = kept_folder("libpython", PYTHON, _unpack)
    return next(folder.rglob(name))


def _unpack(folder):
    with tempfile.TemporaryDirectory() as work:
        debian.unpack([f"libpython{PYTHON}"], folder, suite=None, work=Path(work))


class TritonServer:
    """A running server over a model repository; told to end, it waits so long for what runs."""

    def __init__(self, repository, folder, *, exit_seconds=2):
        packages = environment() / "lib" / f"python{PYTHON}" / "site-packages"
        triton = packages / "pytriton" / "tritonserver"
        self.log = folder / "triton.log"
        self.http, self.grpc, self.metrics = (_free_port() for _ in range(3))
        backend = folder / "backends" / "python"
        backend.mkdir(parents=True)
        stub = triton / "python_backend_stubs" / PYTHON / "triton_python_backend_stub"
        for file in (*(triton / "backends" / "python").glob("*.*"), stub):
            (backend / file.name).symlink_to(file)
        # The Python backend takes the python3 that the PATH finds first, and its packages.
        surroundings = {
            "PATH": f"{environment() / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "LD_LIBRARY_PATH": f"{packages / 'nvidia_pytriton.libs'}{os.pathsep}{libpython()}",
        }
        command = [
            str(triton / "bin" / "tritonserver"),
            *("--model-repository", str(repository), "--backend-directory", str(backend.parent)),
            *("--http-port", str(self.http), "--grpc-port", str(self.grpc)),
            *("--metrics-port", str(self.metrics), "--metrics-interval-ms", "200"),
            # A request on a stream that Triton itself refuses keeps its model loaded for ever.
            *("--exit-timeout-secs", str(exit_seconds)),
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env=os.environ | surroundings, stdout=log, stderr=subprocess.STDOUT
            )

    def wait_until_ready(self):
        """Wait for all models to be loaded."""
        deadline = time.monotonic() + DEADLINE
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://localhost:{self.http}/v2/health/ready").status_code == 200:
                    return self
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def metric(self, name, **labels):
        """A metric's value among Triton's own."""
        text = httpx.get(f"http://localhost:{self.metrics}/metrics").text
        for line in text.splitlines():
            if line.startswith(name + "{") and all(f'{k}="{v}"' in line for k, v in labels.items()):
                return float(line.rsplit(" ", 1)[1])
        raise AssertionError(f"{name} {labels} is not in\n{text}")

    def end(self):
        """End it, and see it end."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
