"""The cluster's certificates: one authority, elliptic-curve keys, made anew at every start."""

import base64
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

from nacelle_cluster.command import run, run_with_input
from nacelle_cluster.spec import ClusterSpec

DAYS = "365"


@dataclass(frozen=True)
class Certificate:
    """One certificate to be signed: file name, subject, usage, the server's names, a kubeconfig?"""

    name: str
    subject: str
    usage: str = "clientAuth"
    names: tuple[str, ...] = ()
    kubeconfig: bool = False

    @property
    def extensions(self) -> str:
        """The X.509 extensions in openssl's notation."""
        lines = [
            "basicConstraints=CA:FALSE",
            "keyUsage=digitalSignature,keyEncipherment",
            f"extendedKeyUsage={self.usage}",
        ]
        if self.names:
            lines.append("subjectAltName=" + ",".join(self.names))
        return "\n".join(lines) + "\n"


def wanted(spec: ClusterSpec) -> tuple[Certificate, ...]:
    """Every certificate of a cluster."""
    service = "kubernetes.default.svc"
    api_names = ["kubernetes", "kubernetes.default", service, f"{service}.cluster.local"]
    api_names = [f"DNS:{name}" for name in api_names]
    api_names += ["DNS:localhost", "IP:127.0.0.1", f"IP:{spec.node_ip}", f"IP:{spec.api_ip}"]
    node = f"/O=system:nodes/CN=system:node:{spec.node_name}"
    node_names = (f"DNS:{spec.node_name}", f"IP:{spec.node_ip}", "IP:127.0.0.1")
    return (
        Certificate("apiserver", "/CN=kube-apiserver", "serverAuth", tuple(api_names)),
        Certificate("kubelet-serving", node, "serverAuth", node_names),
        Certificate("apiserver-kubelet", "/O=system:masters/CN=kube-apiserver-kubelet-client"),
        Certificate("front-proxy", "/CN=front-proxy-client"),
        Certificate("admin", "/O=system:masters/CN=admin", kubeconfig=True),
        Certificate("controller-manager", "/CN=system:kube-controller-manager", kubeconfig=True),
        Certificate("scheduler", "/CN=system:kube-scheduler", kubeconfig=True),
        Certificate("kubelet", node, kubeconfig=True),
        Certificate("proxy", "/CN=system:kube-proxy", kubeconfig=True),
    )


def kubeconfig(name: str, server: str, pems: Sequence[bytes]) -> str:
    """A kubeconfig that needs no other file; `pems`: the authority, a certificate, its key."""
    authority, certificate, key = (base64.b64encode(data).decode() for data in pems)
    cluster = {"server": server, "certificate-authority-data": authority}
    user = {"client-certificate-data": certificate, "client-key-data": key}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return yaml.safe_dump(document, sort_keys=False)


def make_certificates(spec: ClusterSpec) -> None:
    """Fills the cluster's folder of certificates with a fresh set (about 0.3 s)."""
    folder = spec.certificates
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    make_authority(folder)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda certificate: sign(spec, certificate), wanted(spec)))
    make_key(folder / "service-account.key")
    public = folder / "service-account.pub"
    run(["openssl", "ec", "-in", folder / "service-account.key", "-pubout", "-out", public])


def make_key(path: Path) -> None:
    """A private key, P-256."""
    run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path])


def make_authority(folder: Path) -> None:
    """ca.key and ca.crt."""
    make_key(folder / "ca.key")
    run([
        "openssl", "req", "-x509", "-new", "-key", folder / "ca.key", "-subj", "/CN=nacelle-ca",
        "-days", DAYS, "-out", folder / "ca.crt",
        "-addext", "basicConstraints=critical,CA:TRUE",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature",
    ])  # fmt: skip


def sign(spec: ClusterSpec, certificate: Certificate) -> None:
    """NAME.key, NAME.crt and, where wanted, NAME.kubeconfig."""
    stem = spec.certificates / certificate.name
    key, signed, extensions = (stem.with_suffix(s) for s in (".key", ".crt", ".extensions"))
    authority = spec.certificates / "ca"
    make_key(key)
    extensions.write_text(certificate.extensions)
    request = run(["openssl", "req", "-new", "-key", key, "-subj", certificate.subject])
    run_with_input(
        [
            "openssl", "x509", "-req", "-CA", authority.with_suffix(".crt"),
            "-CAkey", authority.with_suffix(".key"), "-CAcreateserial",
            "-CAserial", stem.with_suffix(".serial"),
            "-days", DAYS, "-extfile", extensions, "-out", signed,
        ],
        request,
    )  # fmt: skip
    if certificate.kubeconfig:
        parts = [authority.with_suffix(".crt"), signed, key]
        text = kubeconfig(spec.name, spec.server, [part.read_bytes() for part in parts])
        stem.with_suffix(".kubeconfig").write_text(text)
