"""What a server's processes hold as time goes on: memory, sockets, threads, tasks, blocks."""

import http.client
import re
import threading
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from nacelle_bench.soak_server import SoakServer

Sample = dict[str, float]

_TIMEOUT = 30.0
# Column -> the server's metric.
_METRICS = {
    "tasks": "nacelle_frontend_tasks",
    "waiting": "nacelle_requests_waiting",
    "running": "nacelle_requests_running",
    "kv_blocks_used": "nacelle_kv_blocks_used",
}


@dataclass
class Watch:
    """Samples at even times; seconds count from the first.

    missed: looks at which the server gave no figures: a core answers between two steps only.
    over: set when there is no more to see, at the latest when one of its processes has ended.
    """

    server: SoakServer
    period: float
    missed: int = 0
    samples: list[Sample] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Take samples until it is over."""
        try:
            while not self.over.wait(self.period):
                sample = self.look()
                if sample is None:
                    self.missed += 1
                else:
                    self.samples.append(sample)
        except OSError:
            pass  # a process has ended
        finally:
            # Whatever ended the looks, nobody drives a load that is not watched.
            self.over.set()

    def look(self) -> Sample | None:
        """One sample, memory in MiB; None where the server gives no figures in time.

        OSError when one of its processes has ended.
        """
        sample = {"seconds": round(time.monotonic() - self._began, 2)}
        for name, process in self.server.processes.items():
            folder = Path(f"/proc/{process}")
            sample[f"{name}_mib"] = round(_status(folder, "VmRSS") / 1024, 2)
            sample[f"{name}_threads"] = _status(folder, "Threads")
            sample[f"{name}_sockets"] = _sockets(folder)
        told = _metrics(self.server)
        return None if told is None else sample | told


def _status(folder: Path, field_name: str) -> float:
    found = re.search(rf"^{field_name}:\s+(\d+)", (folder / "status").read_text(), re.MULTILINE)
    if found is None:
        # Of a process that has ended, and was not waited for yet, memory is not told.
        raise ProcessLookupError(f"{folder}/status has no {field_name}")
    return float(found[1])


def _sockets(folder: Path) -> int:
    """Open sockets; one may be closed while they are counted."""
    count = 0
    for entry in (folder / "fd").iterdir():
        try:
            count += str(entry.readlink()).startswith("socket:")
        except FileNotFoundError:
            continue
    return count


def _metrics(server: SoakServer) -> Sample | None:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=_TIMEOUT)
    try:
        connection.request("GET", "/metrics", headers={"Connection": "close"})
        answer = connection.getresponse()
        text = answer.read().decode()
    except TimeoutError:
        return None
    finally:
        connection.close()
    if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
        return None
    found = {}
    for column, name in _METRICS.items():
        value = re.search(rf"^{name}{{[^}}]*}} (\S+)$", text, re.MULTILINE)
        if value is None:
            raise ValueError(f"the server has no metric {name}")
        found[column] = float(value[1])
    return found
