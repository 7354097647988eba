"""Bringing one embedded cluster up and taking it down."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from nacelle_cluster import addons, cgroups, network, processes, requirements
from nacelle_cluster.api import ApiServer
from nacelle_cluster.certificates import make_certificates
from nacelle_cluster.configuration import write_configuration
from nacelle_cluster.containerd import Containerd
from nacelle_cluster.errors import ClusterError, log_tail
from nacelle_cluster.health import ended, node_ready, problems, runs
from nacelle_cluster.lock import locked
from nacelle_cluster.machine import MOUNT_POINTS, Machine
from nacelle_cluster.node import NodePlan
from nacelle_cluster.parts import PARTS, PartStore
from nacelle_cluster.programs import programs
from nacelle_cluster.reporting import Report
from nacelle_cluster.spec import ClusterSpec, cluster_folder
from nacelle_cluster.waiting import wait_for
from nacelle_engine.arch import cpu_flags, cpu_level

CPU_LEVEL_LABEL = "nacelle.dev/cpu-level"
# Gone with the cluster; images (fs/var/lib/containerd) and the registry's data stay for the next.
EPHEMERAL = (
    "etcd",
    "logs",
    "exits",
    "node.json",
    "certificates",
    "configuration",
    "cgroups",
    *(f"fs{folder}" for folder in MOUNT_POINTS if folder != "/var/lib/containerd"),
)
# For each step; ten times what it takes, for two busy cores can slow it that much.
START_SECONDS = 120


@dataclass(frozen=True)
class Embedded:
    """The commands on the cluster `name` whose files lie under `home`."""

    name: str
    home: Path

    @property
    def parts(self) -> PartStore:
        """The built programs, shared by all clusters of this home."""
        return PartStore(self.home)

    @property
    def folder(self) -> Path:
        """The cluster's state."""
        return cluster_folder(self.home, self.name)

    @property
    def _lock(self) -> Path:
        return self.folder.with_name(f".{self.name}.lock")

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self._lock, f"bringing cluster {self.name} up or down")

    def spec(self) -> ClusterSpec | None:
        """The cluster's addresses, or None when it never was up.

        It may be up although its folder was deleted: the machine's claim knows its number too.
        """
        index = self.folder / "index"
        number = int(index.read_text()) if index.is_file() else Machine().number_of(self.folder)
        return None if number is None else ClusterSpec(self.name, number, self.home)

    def prepare(self, report: Report) -> None:
        """Makes everything that needs no cluster, so that `up` need not: minutes, once."""
        self._check()
        self._make(report)

    def up(self, report: Report, extra: tuple[str, ...] = ()) -> ClusterSpec:
        """Brings the cluster up, or finds it up; what was half up is taken down first."""
        if not self._serves(extra):
            self._check()
        with self._locked():
            spec = self.spec()
            if spec and self._serves(extra):
                report(f"cluster {self.name} is up already")
                return spec
            self._make(report)
            if spec and self.leftovers():
                _take_down(spec)
                report("took down what was left of it")
            spec = Machine().claim(self.name, self.home)
            try:
                _bring_up(spec, self.parts, extra, report)
            except BaseException:
                # The logs stay for the user to read; nothing else does.
                _take_down(spec)
                raise
        return spec

    def _serves(self, extra: tuple[str, ...]) -> bool:
        """Whether the cluster is up and well with at least these extra programs."""
        spec = self.spec()
        return spec is not None and not problems(spec) and all(runs(spec, name) for name in extra)

    def _check(self) -> None:
        requirements.check(self.home, built=not self.parts.missing(PARTS))

    def _make(self, report: Report) -> None:
        """Packages, programs and the add-ons' images."""
        if packages := requirements.install_packages():
            report("installed the Debian packages " + " ".join(packages))
        self.parts.ensure(PARTS, report)
        with locked(self.home / "images.lock", "writing the add-ons' images"):
            addons.write_images(self.parts, self.home)

    def down(self, *, wipe: bool) -> None:
        """Takes the cluster down; `wipe` also deletes its images and its registry's data."""
        if self.spec() is None and not self.folder.is_dir():
            return
        with self._locked():
            if spec := self.spec():
                _take_down(spec)
                for name in EPHEMERAL:
                    _delete(spec.folder / name)
            if wipe:
                _delete(self.folder)
                _delete(self._lock)

    def leftovers(self) -> list[str]:
        """What of the cluster is still on the machine; empty after `down`."""
        spec = self.spec()
        if spec is None:
            return []
        found = [
            *processes.leftovers(spec),
            *mounts_below(spec.folder),
            *Machine().leftovers(spec),
        ]
        if Machine().may_use(spec):
            found += [*network.leftovers(spec), *cgroups.leftovers(spec)]
        return found


def _write_files(spec: ClusterSpec, parts: PartStore, extra: tuple[str, ...]) -> None:
    """Certificates, configuration and the node's plan, in a folder cleared of the last run's."""
    for name in EPHEMERAL:
        _delete(spec.folder / name)
    spec.logs.mkdir(parents=True)
    make_certificates(spec)
    write_configuration(spec, parts)
    level = cpu_level(cpu_flags())
    labels = {CPU_LEVEL_LABEL: level.value} if level else {}
    NodePlan(
        node_name=spec.node_name,
        node_ip=spec.node_ip,
        host_ip=spec.host_ip,
        search_path=parts.search_path(PARTS),
        kubeconfig=str(spec.kubeconfig),
        logs=str(spec.logs),
        exits=str(spec.exits),
        mounts={point: f"{spec.folder}/fs{point}" for point in MOUNT_POINTS},
        programs=programs(spec, parts, labels, with_kwok="kwok" in extra),
    ).write(spec.node_plan)


def _bring_up(spec: ClusterSpec, parts: PartStore, extra: tuple[str, ...], report: Report) -> None:
    """From nothing running to every add-on ready."""
    _write_files(spec, parts, extra)
    report("certificates and configuration")
    cgroups.create(spec)
    pid = processes.start_node(spec)
    network.connect(spec, pid)
    report(f"namespaces and network ({spec.link_network})")
    api = ApiServer(spec.kubeconfig)
    # Images go in while the API server starts.
    with ThreadPoolExecutor(1) as pool:
        images = addons.write_images(parts, spec.home)
        imported = pool.submit(addons.import_images, images, Containerd(parts, pid))
        _await(spec, "API server ready", api.ready, log="kube-apiserver")
        report("API server ready")
        addons.apply_manifests(spec, parts)
        imported.result()
    report("images imported, add-ons applied")
    _await(spec, "node Ready", lambda: node_ready(api, spec), log="kubelet")
    account = "/api/v1/namespaces/default/serviceaccounts/default"
    _await(spec, "service account", lambda: bool(api.get(account)), log="kube-controller-manager")
    report(f"node {spec.node_name} Ready")
    _await(spec, "add-ons ready", lambda: not addons.unready(api), log="kubelet")
    report("add-ons ready: names, metrics, volumes")


def _await(spec: ClusterSpec, what: str, probe: Callable[[], bool], *, log: str) -> None:
    """Waits for `probe`; an ended program of the node ends the wait at once, with its log."""

    def tail(name: str) -> str:
        return log_tail(spec.logs / f"{name}.log")

    def check() -> bool:
        for name, code in ended(spec):
            raise ClusterError(f"{name} ended with {code}\n{tail(name)}")
        if processes.node_pid(spec) is None:
            raise ClusterError(f"the node's first process ended\n{tail('node')}")
        return probe()

    def explain() -> str:
        return "\n".join([*problems(spec), tail(log)])

    wait_for(what, check, START_SECONDS, explain=explain)


def _take_down(spec: ClusterSpec) -> None:
    """Ends everything of the cluster that the machine still has, whole or half."""
    processes.kill_node(spec)
    if Machine().may_use(spec):  # else its number is another cluster's by now
        network.disconnect(spec)
        cgroups.remove(spec)
        Machine().release(spec)


def mounts_below(folder: Path) -> list[str]:
    """Mount points of this machine's own namespace that lie below a folder."""
    points = (line.split()[1] for line in Path("/proc/mounts").read_text().splitlines())
    return [f"mount {point}" for point in points if Path(point).is_relative_to(folder)]


def _delete(path: Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
