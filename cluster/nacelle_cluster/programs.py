"""The command line of every program that the node runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nacelle_cluster.parts import PROGRAMS, REGISTRY, RUNTIME, PartStore
from nacelle_cluster.spec import API_PORT, ClusterSpec

ETCD = "http://127.0.0.1:2379"
ETCD_PEER = "http://127.0.0.1:2380"


@dataclass(frozen=True)
class Program:
    """One long-running program; clients of the API start once it answers, else they back off."""

    name: str
    argv: tuple[str, ...]
    needs_api: bool


def flags(values: Mapping[str, str | Path | bool]) -> tuple[str, ...]:
    """`--key=value` words, booleans as true and false."""
    words = ((k, str(v).lower() if isinstance(v, bool) else str(v)) for k, v in values.items())
    return tuple(f"--{key}={value}" for key, value in words)


def etcd(spec: ClusterSpec) -> tuple[str, ...]:
    """etcd's flags; unsafe-no-fsync since its data does not outlive the node."""
    return flags({
        "name": "nacelle",
        "data-dir": spec.folder / "etcd",
        "unsafe-no-fsync": True,
        "listen-client-urls": ETCD,
        "advertise-client-urls": ETCD,
        "listen-peer-urls": ETCD_PEER,
        "initial-advertise-peer-urls": ETCD_PEER,
        "initial-cluster": f"nacelle={ETCD_PEER}",
        "log-level": "warn",
    })  # fmt: skip


def apiserver(spec: ClusterSpec) -> tuple[str, ...]:
    """kube-apiserver's flags; the advertised address must not be a loopback one."""
    keys = spec.certificates
    return flags({
        "etcd-servers": ETCD,
        "advertise-address": spec.node_ip,
        "secure-port": str(API_PORT),
        "tls-cert-file": keys / "apiserver.crt",
        "tls-private-key-file": keys / "apiserver.key",
        "client-ca-file": keys / "ca.crt",
        "kubelet-client-certificate": keys / "apiserver-kubelet.crt",
        "kubelet-client-key": keys / "apiserver-kubelet.key",
        "kubelet-certificate-authority": keys / "ca.crt",
        "kubelet-preferred-address-types": "InternalIP",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": keys / "service-account.pub",
        "service-account-signing-key-file": keys / "service-account.key",
        "service-cluster-ip-range": spec.service_network,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "allow-privileged": True,
        "requestheader-client-ca-file": keys / "ca.crt",
        "requestheader-allowed-names": "front-proxy-client",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": keys / "front-proxy.crt",
        "proxy-client-key-file": keys / "front-proxy.key",
        "profiling": False,
        "shutdown-delay-duration": "0s",
    })  # fmt: skip


def identity(kubeconfig: Path) -> Mapping[str, str | Path | bool]:
    """How a control-plane program reaches the API, and asks it who its own callers are."""
    names = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
    return dict.fromkeys(names, kubeconfig) | {"leader-elect": False, "profiling": False}


def controller_manager(spec: ClusterSpec) -> tuple[str, ...]:
    """kube-controller-manager's flags; its default request rate would cost 5 s at the start."""
    keys = spec.certificates
    return flags({
        **identity(keys / "controller-manager.kubeconfig"),
        "root-ca-file": keys / "ca.crt",
        "service-account-private-key-file": keys / "service-account.key",
        "use-service-account-credentials": True,
        "cluster-signing-cert-file": keys / "ca.crt",
        "cluster-signing-key-file": keys / "ca.key",
        "client-ca-file": keys / "ca.crt",
        "requestheader-client-ca-file": keys / "ca.crt",
        "allocate-node-cidrs": False,
        "horizontal-pod-autoscaler-sync-period": "5s",
        "kube-api-qps": "300",
        "kube-api-burst": "600",
    })  # fmt: skip


def kubelet(spec: ClusterSpec, labels: dict[str, str]) -> tuple[str, ...]:
    """The kubelet's flags."""
    return flags({
        "config": spec.configuration / "kubelet.yaml",
        "kubeconfig": spec.certificates / "kubelet.kubeconfig",
        "hostname-override": spec.node_name,
        "node-ip": spec.node_ip,
        "node-labels": ",".join(f"{key}={value}" for key, value in labels.items()),
    })  # fmt: skip


def kwok(spec: ClusterSpec, stages: Path) -> tuple[str, ...]:
    """kwok's flags: it plays the kubelet of nodes with its annotation, and of no other.

    Its nodes' address is one that nobody answers: with the real node's, metrics would count twice.
    """
    return flags({
        "kubeconfig": spec.kubeconfig,
        "manage-all-nodes": False,
        "manage-nodes-with-annotation-selector": "kwok.x-k8s.io/node=fake",
        "config": stages,
        "node-ip": "192.0.2.1",
        "cidr": f"10.243.{spec.index}.0/24",
        "node-lease-duration-seconds": "40",
    })  # fmt: skip


def programs(
    spec: ClusterSpec, parts: PartStore, labels: dict[str, str], with_kwok: bool
) -> tuple[Program, ...]:
    """All programs of the node in the order of their start."""
    configuration = spec.configuration

    def kube(name: str, words: tuple[str, ...], needs_api: bool = True) -> Program:
        return Program(name, (str(parts.program(PROGRAMS, name)), *words), needs_api)

    containerd = str(parts.program(RUNTIME, "containerd"))
    registry = str(parts.program(REGISTRY, "docker-registry"))
    proxy = flags({"config": configuration / "proxy.yaml", "hostname-override": spec.node_name})
    scheduler = flags(identity(spec.certificates / "scheduler.kubeconfig"))
    wanted = [
        Program("etcd", (str(parts.program(RUNTIME, "etcd")), *etcd(spec)), False),
        Program("containerd", (containerd, "-c", str(configuration / "containerd.toml")), False),
        Program("registry", (registry, "serve", str(configuration / "registry.yaml")), False),
        kube("kube-apiserver", apiserver(spec), needs_api=False),
        kube("kube-controller-manager", controller_manager(spec)),
        kube("kube-scheduler", scheduler),
        kube("kubelet", kubelet(spec, labels)),
        kube("kube-proxy", proxy),
    ]
    if with_kwok:
        words = kwok(spec, parts.program(PROGRAMS, "stages.yaml"))
        wanted.append(Program("kwok", (str(parts.program(PROGRAMS, "kwok")), *words), True))
    return tuple(wanted)
