"""The operator as a process of its own: what it has counted, what it takes of the machine."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from prometheus_client.parser import text_string_to_metric_families

from nacelle_engine.abi import ABI
from nacelle_engine.errors import TemporaryError

_WRITES = ("POST", "PUT", "PATCH", "DELETE")
_LEASES = "leases"


@dataclass(frozen=True)
class Counts:
    """What one process has counted since its start; calls without those of its lease."""

    reads: int = 0
    writes: int = 0
    reconciles: Mapping[str, int] = field(default_factory=dict)
    waiting: int = 0

    @classmethod
    def read(cls, text: str) -> Self:
        """The counts in /metrics."""
        reads = writes = waiting = 0
        reconciles: dict[str, int] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels, value = sample.labels, int(sample.value)
                if sample.name == "nacelle_api_requests_total" and labels["resource"] != _LEASES:
                    reads += value * (labels["method"] not in _WRITES)
                    writes += value * (labels["method"] in _WRITES)
                elif sample.name == "nacelle_reconciles_total":
                    kind = labels["kind"]
                    reconciles[kind] = reconciles.get(kind, 0) + value
                elif sample.name == "nacelle_queue_depth":
                    waiting = value
        return cls(reads, writes, reconciles, waiting)

    @property
    def all_reconciles(self) -> int:
        """Of every kind."""
        return sum(self.reconciles.values())


class OperatorProcess:
    """`python -m nacelle_operator` over a kubeconfig, its Lease in `namespace`.

    pod: the name of the pod that it stands for; a container that starts again keeps it.
    """

    def __init__(self, kubeconfig: Path, namespace: str, log: Path, pod: str = "") -> None:
        self.port = _free_port()
        self.pod = pod or f"bench-{self.port}"
        self.began = time.monotonic()
        environment = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "NACELLE_BUILDER_IMAGE": "builder:1",
            "NACELLE_RUNTIME_IMAGES": json.dumps({ABI: "runtime:1"}),
            "NACELLE_NAMESPACES": "",
            "NACELLE_PORT": str(self.port),
            "NACELLE_LOG_LEVEL": "WARNING",
            "POD_NAMESPACE": namespace,
            "POD_NAME": self.pod,
            "PYTHONWARNINGS": "ignore",
        }
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "nacelle_operator"], env=environment, stdout=out, stderr=out
            )

    def counts(self) -> Counts | None:
        """What it has counted; None before it answers. TemporaryError when it has ended."""
        if self._process.poll() is not None:
            raise TemporaryError(f"the operator ended by itself: {self._process.returncode}")
        try:
            url = f"http://127.0.0.1:{self.port}/metrics"
            with urllib.request.urlopen(url, timeout=30) as answer:
                return Counts.read(answer.read().decode())
        except OSError:
            return None

    def peak_mib(self) -> float:
        """The most memory that it has held, in MiB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"^VmHWM:\s+(\d+)", status, re.MULTILINE)
        assert found, "a process that runs has a VmHWM"
        return round(int(found[1]) / 1024, 1)

    def cpu_seconds(self) -> float:
        """The CPU time that it has used, all its threads', in user and kernel."""
        words = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return round((int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK"), 2)

    def stop(self) -> None:
        """Ask it to end, and wait."""
        self._process.terminate()
        self._wait()

    def kill(self) -> None:
        """Kill -9."""
        self._process.kill()
        self._wait()

    def _wait(self) -> None:
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=30)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
