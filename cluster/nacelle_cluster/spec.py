"""One embedded cluster's name and number, and every address, name and folder made of them."""

from dataclasses import dataclass
from pathlib import Path

MAX_CLUSTERS = 64
REGISTRY_PORT = 5000
API_PORT = 6443


@dataclass(frozen=True)
class ClusterSpec:
    """Where a cluster lives. `index` is the third octet of all its networks."""

    name: str
    index: int
    home: Path

    @property
    def folder(self) -> Path:
        """All state of this cluster on disk."""
        return cluster_folder(self.home, self.name)

    @property
    def node_name(self) -> str:
        """The node's name in Kubernetes and its host name."""
        return f"{self.name}-node"

    @property
    def link(self) -> str:
        """The host's end of the veth pair to the node (at most 15 characters)."""
        return f"nacelle{self.index}"

    @property
    def cgroup(self) -> str:
        """The control group under which every pod lives, below each hierarchy's root."""
        return f"nacelle{self.index}"

    @property
    def link_network(self) -> str:
        """Network between host and node."""
        return f"10.245.{self.index}.0/24"

    @property
    def host_ip(self) -> str:
        """The host as node and pods see it: bind there what they shall reach."""
        return f"10.245.{self.index}.1"

    @property
    def node_ip(self) -> str:
        """The node as the host sees it."""
        return f"10.245.{self.index}.2"

    @property
    def pod_network(self) -> str:
        """Addresses of pods."""
        return f"10.244.{self.index}.0/24"

    @property
    def service_network(self) -> str:
        """Cluster IPs."""
        return f"10.96.{self.index}.0/24"

    @property
    def api_ip(self) -> str:
        """Cluster IP of the API server."""
        return f"10.96.{self.index}.1"

    @property
    def dns_ip(self) -> str:
        """Cluster IP of CoreDNS."""
        return f"10.96.{self.index}.10"

    @property
    def networks(self) -> tuple[str, str, str]:
        """All networks that the host routes to the node."""
        return (self.link_network, self.pod_network, self.service_network)

    @property
    def registry(self) -> str:
        """The registry's name in image references: the same for the host's pushes and for pods."""
        return f"{self.node_ip}:{REGISTRY_PORT}"

    @property
    def server(self) -> str:
        """URL of the API server, from the host and from the node."""
        return f"https://{self.node_ip}:{API_PORT}"

    @property
    def certificates(self) -> Path:
        """Keys, certificates and kubeconfigs."""
        return self.folder / "certificates"

    @property
    def configuration(self) -> Path:
        """Configuration files of the node's programs."""
        return self.folder / "configuration"

    @property
    def logs(self) -> Path:
        """One log file per program."""
        return self.folder / "logs"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.certificates / "admin.kubeconfig"

    @property
    def node_plan(self) -> Path:
        """What the node's first process is told to do (node.py)."""
        return self.folder / "node.json"

    @property
    def exits(self) -> Path:
        """Written by the node's first process: programs that ended, one `name code` a line."""
        return self.folder / "exits"


def cluster_folder(home: Path, name: str) -> Path:
    """The state folder of the cluster of that name."""
    return home / "clusters" / name
