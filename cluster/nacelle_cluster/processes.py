"""The processes that are a cluster's node, found in /proc and not by a file of numbers."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from nacelle_cluster.errors import log_tail
from nacelle_cluster.node import MODULE
from nacelle_cluster.spec import ClusterSpec
from nacelle_cluster.waiting import wait_for

NAMESPACES = ("--mount", "--net", "--pid", "--uts", "--ipc")


def start_node(spec: ClusterSpec) -> int:
    """Starts the node's first process in namespaces of its own; its process id on the host.

    setsid --fork: the node is no child of the caller, who may live on or end.
    --kill-child: should the waiting `unshare` die, the kernel ends the node with it.
    """
    package = str(Path(__file__).resolve().parents[1])
    search = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    with (spec.logs / "node.log").open("ab") as log:
        subprocess.run(
            [
                "setsid", "--fork",
                "unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc",
                sys.executable, "-m", MODULE, str(spec.node_plan),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={**os.environ, "PYTHONPATH": search},
            check=True,
            timeout=20,
        )  # fmt: skip
    return wait_for(
        "the node's first process runs",
        lambda: node_pid(spec),
        seconds=20,
        every=0.02,
        explain=lambda: log_tail(spec.logs / "node.log"),
    )


def node_pid(spec: ClusterSpec) -> int | None:
    """The host's id of the node's first process, or None when the node does not run."""
    for pid in _holders(spec):
        if _namespace_ids(pid)[1:] == ["1"]:
            return pid
    return None


def kill_node(spec: ClusterSpec) -> None:
    """Ends the node's first process; the kernel ends all others of its namespaces with it."""

    def killed() -> bool:
        left = list(_holders(spec))
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return not left

    wait_for(f"processes of cluster {spec.name} ended", killed, seconds=30, every=0.05)


def leftovers(spec: ClusterSpec) -> list[str]:
    """The processes that hold the cluster's node."""
    return [f"process {pid} (node of cluster {spec.name})" for pid in _holders(spec)]


def enter_node(pid: int, search_path: str, argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` inside the node."""
    enter = ["nsenter", "--target", str(pid), "--mount", "--net", "--pid", "--uts", "--ipc"]
    return [*enter, "env", f"PATH={search_path}", *argv]


def _holders(spec: ClusterSpec) -> Iterator[int]:
    """`unshare` and the first process: both carry the plan's path as last word."""
    ending = [b"-m", MODULE.encode(), os.fsencode(spec.node_plan)]
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        except OSError:
            continue
        if words[-3:] == ending:
            yield int(folder.name)


def _namespace_ids(pid: int) -> list[str]:
    """The process's id in each pid namespace, this one's first."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return []
    return next((line.split()[1:] for line in lines if line.startswith("NSpid:")), [])
