"""Programs of the embedded node, killed, stopped and started again as a machine's faults do."""

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from nacelle_cluster.connection import EmbeddedCluster
from nacelle_cluster.node import read_plan
from nacelle_cluster.processes import enter_node, node_pid

_NOTED_SECONDS = 60.0
_ENDED_SECONDS = 60.0


def _noted(exits: Path) -> dict[str, str]:
    """The lines of the programs that have ended, by name; before the first there is no file."""
    lines = exits.read_text().splitlines() if exits.exists() else []
    return {line.split()[0]: line for line in lines if line}


def _kill(pid: int) -> None:
    """Kill -9, and wait for the end: before it a process has no command line, and its ports yet."""
    handle = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        ended, _, _ = select.select([handle], [], [], _ENDED_SECONDS)
        assert ended, f"process {pid} has not ended {_ENDED_SECONDS:g} s after SIGKILL"
    finally:
        os.close(handle)


class NodeProgram:
    """One program that the node runs, such as kubelet, by the name in its plan."""

    def __init__(self, cluster: EmbeddedCluster, name: str) -> None:
        self._cluster = cluster
        self._name = name
        self._plan = read_plan(cluster.spec.node_plan)
        (self._argv,) = (list(p.argv) for p in self._plan.programs if p.name == name)

    def pid(self) -> int | None:
        """Its process id on the host; its command line holds paths that no other cluster has."""
        wanted = [os.fsencode(word) for word in self._argv]
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0") == wanted:
                    return int(folder.name)
        return None

    def restart(self) -> None:
        """Kill -9, and start it anew in the node, its log going on."""
        pid, node = self.pid(), node_pid(self._cluster.spec)
        assert pid and node, f"{self._name} does not run"
        _kill(pid)
        log = self._cluster.spec.logs / f"{self._name}.log"
        command = enter_node(node, self._plan.search_path, self._argv)
        with log.open("ab") as out:
            # Forked away: the node's first process takes it over, and ends it with the node.
            subprocess.run(
                ["setsid", "--fork", *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                cwd="/", check=True, timeout=20,
            )  # fmt: skip
        # The node notes that it ended: it runs again.
        exits = self._cluster.spec.exits
        until = time.monotonic() + _NOTED_SECONDS
        while self._name not in (noted := _noted(exits)):
            assert time.monotonic() < until, f"the node has not noted that {self._name} ended"
            time.sleep(0.05)
        left = [line for name, line in noted.items() if name != self._name]
        exits.write_text("".join(f"{line}\n" for line in left))

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stopped as by SIGSTOP meanwhile."""
        pid = self.pid()
        assert pid, f"{self._name} does not run"
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)
