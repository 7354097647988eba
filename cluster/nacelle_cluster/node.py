"""The first process of the node's own namespaces: lays out mounts and network, starts, reaps.

When it is killed the kernel ends every process in them and drops mounts, links, rules and sockets:
that is the whole teardown. Run as `python -m nacelle_cluster.node PLAN`; the plan is a NodePlan.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nacelle_cluster.api import ApiServer
from nacelle_cluster.command import run, succeeds
from nacelle_cluster.network import NODE_LINK
from nacelle_cluster.programs import Program
from nacelle_cluster.waiting import wait_for

OPEN_FILES = 65536
MODULE = "nacelle_cluster.node"


@dataclass(frozen=True)
class NodePlan:
    """All that the node's first process needs to know, as JSON on disk."""

    node_name: str
    node_ip: str
    host_ip: str
    search_path: str
    kubeconfig: str
    logs: str
    exits: str
    mounts: dict[str, str]
    programs: tuple[Program, ...]

    def write(self, path: Path) -> None:
        """Writes the plan."""
        path.write_text(json.dumps(asdict(self), indent=1))


def read_plan(path: Path) -> NodePlan:
    """The plan at `path`."""
    values = json.loads(path.read_text())
    programs = (
        Program(p["name"], tuple(p["argv"]), p["needs_api"]) for p in values.pop("programs")
    )
    return NodePlan(**values, programs=tuple(programs))


def lay_out_mounts(mounts: dict[str, str], scratch: Path) -> None:
    """An own /sys and /run, and the node's folders at their usual places.

    The order matters: shared propagation comes last, or unmounting the moved control groups would
    reach the fresh /sys/fs/cgroup as well.
    """
    cgroups = "/sys/fs/cgroup"
    scratch.mkdir(exist_ok=True)
    run(["mount", "--make-rprivate", "/"])
    run(["mount", "--rbind", cgroups, scratch])
    run(["mount", "-t", "sysfs", "sysfs", "/sys"])
    run(["mount", "--rbind", scratch, cgroups])
    run(["umount", "-l", scratch])
    run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"])
    for folder in ("/run/lock", "/run/netns"):
        Path(folder).mkdir()
    run(["mount", "--make-rshared", "/"])
    for target, source in mounts.items():
        Path(target).mkdir(parents=True, exist_ok=True)
        Path(source).mkdir(parents=True, exist_ok=True)
        run(["mount", "--bind", source, target])


def set_up_network(plan: NodePlan) -> None:
    """Loopback, the node's end of the veth pair, and forwarding between pods."""
    run(["ip", "link", "set", "lo", "up"])
    wait_for(
        f"link {NODE_LINK} in the node", lambda: succeeds(["ip", "link", "show", NODE_LINK]), 20
    )
    run(["ip", "address", "add", f"{plan.node_ip}/24", "dev", NODE_LINK])
    run(["ip", "link", "set", NODE_LINK, "up"])
    run(["ip", "route", "add", "default", "via", plan.host_ip])
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


class Supervisor:
    """Starts programs and reaps every process of the node; an ended program is noted, not revived.

    Reviving would hide the error: `status` names the program and its log instead.
    """

    def __init__(self, plan: NodePlan) -> None:
        self._plan = plan
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._names: dict[int, str] = {}

    def start(self, programs: Sequence[Program]) -> None:
        """Starts programs, each with a log file of its own."""
        environment = {"PATH": self._plan.search_path, "HOME": "/root", "LANG": "C.UTF-8"}
        for program in programs:
            with (Path(self._plan.logs) / f"{program.name}.log").open("ab") as log:
                started = subprocess.Popen(
                    program.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    cwd="/",
                )
            self._running[started.pid] = started
            self._names[started.pid] = program.name

    def reap(self, *, block: bool) -> bool:
        """Reaps one ended process; False when there is none."""
        try:
            pid, status = os.waitpid(-1, 0 if block else os.WNOHANG)
        except ChildProcessError:
            return False
        if pid in self._names:
            self._running.pop(pid).returncode = os.waitstatus_to_exitcode(status)
            with Path(self._plan.exits).open("a") as exits:
                exits.write(f"{self._names.pop(pid)} {os.waitstatus_to_exitcode(status)}\n")
        return pid != 0


def main(plan_path: Path) -> None:
    """Becomes the node; returns never."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setsid()
    plan = read_plan(plan_path)
    run(["hostname", plan.node_name])
    lay_out_mounts(plan.mounts, plan_path.with_name("cgroups"))
    set_up_network(plan)
    limit = min(OPEN_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    supervisor = Supervisor(plan)
    supervisor.start([p for p in plan.programs if not p.needs_api])
    api = ApiServer(Path(plan.kubeconfig))
    while not api.ready():
        while supervisor.reap(block=False):
            pass
        time.sleep(0.05)
    supervisor.start([p for p in plan.programs if p.needs_api])
    while True:
        if not supervisor.reap(block=True):
            time.sleep(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
