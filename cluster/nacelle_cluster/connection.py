"""A cluster to work with, ours or the user's: one interface for demo, tests and images."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nacelle_cluster.cluster import Embedded
from nacelle_cluster.command import run
from nacelle_cluster.errors import ClusterError
from nacelle_cluster.health import problems
from nacelle_cluster.images import Layout
from nacelle_cluster.parts import PARTS, PROGRAMS
from nacelle_cluster.processes import enter_node, node_pid
from nacelle_cluster.registry import Registry
from nacelle_cluster.reporting import Report
from nacelle_cluster.settings import Settings
from nacelle_cluster.spec import ClusterSpec


class Cluster(Protocol):
    """What the demo and the tests need of any cluster."""

    @property
    def kubeconfig(self) -> Path:
        """Path of a kubeconfig of an administrator."""

    @property
    def kubectl(self) -> Path:
        """A kubectl that fits."""

    @property
    def registry(self) -> Registry:
        """Where images are pushed, under the very name that pods pull them by."""

    def push_image(self, layout: Layout, repository: str, tag: str) -> str:
        """Pushes an image; the name for pods."""


@dataclass(frozen=True)
class EmbeddedCluster:
    """Our own cluster, up."""

    spec: ClusterSpec
    kubectl: Path

    @property
    def kubeconfig(self) -> Path:
        """Path of the administrator's kubeconfig."""
        return self.spec.kubeconfig

    @property
    def registry(self) -> Registry:
        """The node's registry, by the node's address: the host and pods reach it alike."""
        return Registry(self.spec.registry, plain_http=True)

    @property
    def host_ip(self) -> str:
        """The host as pods see it: what listens there is reached from the cluster."""
        return self.spec.host_ip

    def push_image(self, layout: Layout, repository: str, tag: str) -> str:
        """Pushes an image; the name for pods."""
        return self.registry.push(layout, repository, tag)

    def run_in_node(self, argv: Sequence[str], *, seconds: float = 60) -> str:
        """Standard output of a command run inside the node's namespaces."""
        return run(self.node_command(argv), seconds=seconds)

    def node_command(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` inside the node."""
        pid = node_pid(self.spec)
        if pid is None:
            raise ClusterError(f"cluster {self.spec.name} is down")
        parts = Embedded(self.spec.name, self.spec.home).parts
        return enter_node(pid, parts.search_path(PARTS), argv)


@dataclass(frozen=True)
class ExternalCluster:
    """A cluster that the user brought; nothing is ever stopped or installed on its nodes."""

    kubeconfig: Path
    kubectl: Path
    registry: Registry

    def push_image(self, layout: Layout, repository: str, tag: str) -> str:
        """Pushes an image; the name for pods."""
        return self.registry.push(layout, repository, tag)


def external(settings: Settings) -> ExternalCluster | None:
    """The cluster that the user's environment names, or None when it names none."""
    if settings.kubeconfig is None:
        return None
    if settings.registry is None:
        raise ClusterError(
            "KUBECONFIG is set and REGISTRY is not: set REGISTRY to where that cluster's nodes "
            "pull images from (host:port/prefix), or unset KUBECONFIG for the embedded cluster"
        )
    kubeconfig = Path(settings.kubeconfig).expanduser().absolute()
    if not kubeconfig.is_file():
        raise ClusterError(f"KUBECONFIG: {kubeconfig} is not a file")
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise ClusterError("KUBECONFIG is set and kubectl is not on the PATH: install it")
    host = settings.registry.partition("/")[0].partition(":")[0]
    plain = settings.registry_plain_http or host == "localhost" or host.startswith("127.")
    return ExternalCluster(kubeconfig, Path(kubectl), Registry(settings.registry, plain))


def embedded(settings: Settings) -> EmbeddedCluster:
    """Our own cluster if it is up."""
    commands = Embedded(settings.name, settings.home)
    spec = commands.spec()
    if spec is None or (found := problems(spec)):
        reason = "it was never up" if spec is None else "; ".join(found)
        raise ClusterError(f"cluster {settings.name} cannot be used: {reason}")
    return EmbeddedCluster(spec, commands.parts.program(PROGRAMS, "kubectl"))


def connect(settings: Settings, report: Report) -> Cluster:
    """The user's cluster if there is one, else ours, brought up when it is not."""
    if (given := external(settings)) is not None:
        return given
    Embedded(settings.name, settings.home).up(report)
    return embedded(settings)
