"""The configuration files of the node's programs, made of a cluster's spec."""

import json
from collections.abc import Mapping
from typing import Any

import yaml

from nacelle_cluster.parts import RUNC, RUNTIME, PartStore
from nacelle_cluster.spec import REGISTRY_PORT, ClusterSpec

PAUSE_IMAGE = "localhost/pause:1"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"


def containerd_toml(spec: ClusterSpec, parts: PartStore) -> str:
    """containerd's configuration.

    discard_unpacked_layers: a pulled layer is kept once, unpacked, not a second time compressed.
    """
    return f"""\
version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.erofs", "io.containerd.differ.v1.erofs",
  "io.containerd.nri.v1.nri",
]
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  discard_unpacked_layers = true
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{PAUSE_IMAGE}"
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = "{spec.configuration / "registries"}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_hugetlb_controller = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{parts.program(RUNTIME, "bridge").parent}"]
    conf_dir = "{spec.configuration / "cni"}"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      BinaryName = "{parts.program(RUNC, "runc")}"
      SystemdCgroup = false
"""


def registry_hosts_toml(spec: ClusterSpec) -> str:
    """Whatever registry a manifest names, ours serves it: nothing leaves the machine."""
    return f"""\
server = "http://{spec.registry}"
[host."http://{spec.registry}"]
  capabilities = ["pull", "resolve"]
"""


def registry_config(spec: ClusterSpec) -> dict[str, Any]:
    """docker-registry's configuration; it answers on the node's address only."""
    storage = {"filesystem": {"rootdirectory": str(spec.folder / "registry")}}
    return {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {**storage, "delete": {"enabled": True}},
        "http": {"addr": f"{spec.node_ip}:{REGISTRY_PORT}"},
    }


def cni_conflist(spec: ClusterSpec) -> dict[str, Any]:
    """The pods' network: a bridge; leases lie on the node's private /run, so none outlives it."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isDefaultGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": spec.pod_network}]],
            "dataDir": "/run/cni-ipam",
        },
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "1.0.0", "name": "nacelle", "plugins": [bridge, ports]}


def kubelet_config(spec: ClusterSpec) -> dict[str, Any]:
    """KubeletConfiguration: cgroup v1 allowed, no eviction by disk, names of registries trusted.

    imagePullCredentialsVerificationPolicy: an image that was imported under one name and pulled
    under another is refused otherwise.
    """
    authority = str(spec.certificates / "ca.crt")
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": authority},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(spec.certificates / "kubelet-serving.crt"),
        "tlsPrivateKeyFile": str(spec.certificates / "kubelet-serving.key"),
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{spec.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "makeIPTablesUtilChains": False,
        "clusterDNS": [spec.dns_ip],
        "clusterDomain": "cluster.local",
        "resolvConf": str(spec.configuration / "resolv.conf"),
        "serializeImagePulls": False,
        "imagePullCredentialsVerificationPolicy": "NeverVerify",
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
            "imagefs.inodesFree": "0%",
        },
    }


def proxy_config(spec: ClusterSpec) -> dict[str, Any]:
    """KubeProxyConfiguration: nftables, and rules applied within 0.1 s of a change."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(spec.certificates / "proxy.kubeconfig")},
        "mode": "nftables",
        "nftables": {"minSyncPeriod": "100ms", "syncPeriod": "30s"},
        "clusterCIDR": spec.pod_network,
        "bindAddress": spec.node_ip,
        "nodePortAddresses": ["primary"],
        "conntrack": {"maxPerCore": 0, "min": 0},
        "oomScoreAdj": 0,
    }


def files(spec: ClusterSpec, parts: PartStore) -> Mapping[str, str]:
    """Every configuration file: path below the configuration folder -> text."""
    return {
        "containerd.toml": containerd_toml(spec, parts),
        "registries/_default/hosts.toml": registry_hosts_toml(spec),
        "registry.yaml": yaml.safe_dump(registry_config(spec)),
        "cni/10-nacelle.conflist": json.dumps(cni_conflist(spec)),
        "kubelet.yaml": yaml.safe_dump(kubelet_config(spec)),
        "proxy.yaml": yaml.safe_dump(proxy_config(spec)),
        # Empty: names outside the cluster are not to be resolved.
        "resolv.conf": "",
    }


def write_configuration(spec: ClusterSpec, parts: PartStore) -> None:
    """Writes every configuration file."""
    for name, text in files(spec, parts).items():
        path = spec.configuration / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
