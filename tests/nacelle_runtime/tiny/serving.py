"""A `nacelle serve` process over a tiny bundle, and what tests ask of it."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
from tiny_bundle import seal

HERE = Path(__file__).parent
DEADLINE = 60


class Server:
    """A running server: its address, its processes, its last words."""

    def __init__(self, command, folder):
        self.folder = folder
        self.log = folder / "termination-log"
        self.errors = folder / "stderr"
        with self.errors.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*command, "--port", "0", "--termination-log", str(self.log)],
                env=os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), *_path()])},
                stderr=stderr,
            )

    def wait_for_url(self):
        """Where it is ready, as it says."""
        deadline = time.monotonic() + DEADLINE
        while not (found := re.search(r'(?:URL +|"url": ")(\S+)/v1', self.errors.read_text())):
            assert self.process.poll() is None, self.errors.read_text()
            assert time.monotonic() < deadline, self.errors.read_text()
            time.sleep(0.02)
        return found[1]

    def wait_until_ready(self):
        self.url = self.wait_for_url()
        self.http = httpx.Client(base_url=self.url, timeout=DEADLINE)
        self.until(lambda: self.http.get("/health/ready").status_code == 200)
        return self

    def openai(self, **options):
        import openai  # It takes a second, which every process of tests would spend.

        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=DEADLINE, **options
        )

    def until(self, condition):
        """Wait until a condition holds."""
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.01)

    def metric(self, name, **labels):
        """A metric's value; the sum over the labels not given."""
        total = 0.0
        for line in self.http.get("/metrics").text.splitlines():
            if re.match(rf"{name}[{{ ]", line) and all(
                f'{key}="{value}"' in line for key, value in labels.items()
            ):
                total += float(line.rsplit(" ", 1)[1])
        return total

    def children(self):
        """The process ids of the core and the frontend, by the end of their module's name."""
        found = {}
        for folder in Path("/proc").iterdir():
            try:
                status = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                arguments = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if int(status[1]) == self.process.pid and status[0] != "Z":
                found["core" if arguments[2].endswith(b"core") else "frontend"] = int(folder.name)
        return found

    def core_socket(self):
        """The path of the core's socket, as the frontend was told it."""
        command = Path(f"/proc/{self.children()['frontend']}/cmdline").read_bytes()
        return re.search(rb'"core_socket":"([^"]+)"', command)[1].decode()

    def end(self, number=signal.SIGTERM):
        """Send a signal; gives the exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)

    def kill(self):
        """Make sure nothing of it is left."""
        if hasattr(self, "http"):
            self.http.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def gone(children):
    """Whether none of the processes that `Server.children` gave is left."""
    return not any(Path(f"/proc/{process}").exists() for process in children.values())


def _path():
    """Where this process looks for code: the server is to run the same."""
    return filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))


def launch(bundle, folder, flags):
    """A server over a sealed bundle, not awaited."""
    return Server(
        [sys.executable, str(HERE / "tiny_serve.py"), str(bundle), "--threads", "1", *flags], folder
    )


def serve_engine(bundle, folder, flags=()):
    """A ready server over a real engine."""
    command = [sys.executable, "-m", "nacelle_cli.main", "serve", str(bundle), *flags]
    return Server(command, folder).wait_until_ready()


def start_server(folder, flags, bundle):
    """A ready server over a tiny bundle."""
    sealed = seal(folder / "bundle", **bundle)
    return launch(sealed, folder, flags).wait_until_ready()
