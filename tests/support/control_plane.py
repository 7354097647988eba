"""A real etcd, API server and controller manager on loopback: no node, so pods start when told."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kept_connections import KeptConnections

from nacelle_cluster.parts import PROGRAMS, RUNTIME, PartStore
from nacelle_cluster.settings import read_settings

TOKEN = "control-plane-admin"
# The chart's service account, known by a token of its own: what it calls is audited.
OPERATOR = "system:serviceaccount:nacelle-system:nacelle-operator"
_OPERATOR_TOKEN = "control-plane-operator"
_START_SECONDS = 90.0
# By API, the kinds whose finalizers wait for somebody who does not run here: the operator, once it
# has ended, the controller of claims, and who says that a Job's pod has ended.
_HELD = {
    "/api/v1": ("pods", "persistentvolumeclaims"),
    "/apis/nacelle.dev/v1alpha1": ("inferencedeployments", "enginebuilds", "engines"),
}
# What runs in a cluster and needs no node.
_CONTROLLERS = (
    "job-controller",
    "garbage-collector-controller",
    "ttl-after-finished-controller",
    "deployment-controller",
    "replicaset-controller",
    "disruption-controller",
    "horizontal-pod-autoscaler-controller",
    "endpointslice-controller",
    "namespace-controller",
    "resourceclaim-controller",
)


@dataclass
class ControlPlane:
    """Programs of the embedded cluster's parts, started as plain processes in `folder`."""

    folder: Path
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _ports: dict[str, int] = field(default_factory=dict)
    _held: list[socket.socket] = field(default_factory=list)

    @property
    def kubeconfig(self) -> Path:
        """How clients reach it."""
        return self.folder / "kubeconfig"

    @property
    def operator_kubeconfig(self) -> Path:
        """How the operator reaches it with the rights of its service account alone."""
        return self.folder / "operator-kubeconfig"

    @property
    def audit_log(self) -> Path:
        """A JSON event of each answer to the operator's service account, one a line."""
        return self.folder / "audit.log"

    @property
    def server(self) -> str:
        """Its address."""
        return f"https://127.0.0.1:{self._ports['api']}"

    def start(self) -> None:
        """Start all and wait until the API server is ready."""
        parts = PartStore(read_settings().home)
        parts.ensure((RUNTIME, PROGRAMS), print)
        self._held = [_hold_port() for _ in range(3)]
        ports = (int(held.getsockname()[1]) for held in self._held)
        self._ports = dict(zip(("etcd", "peer", "api"), ports, strict=True))
        self._api = KeptConnections(self._ports["api"])
        self._write_files()
        self._spawn("etcd", parts.program(RUNTIME, "etcd"), self._etcd_flags())
        self._programs = parts
        self.start_api_server()
        self._spawn(
            "controllers",
            parts.program(PROGRAMS, "kube-controller-manager"),
            [
                *(f"--{kind}kubeconfig={self.kubeconfig}" for kind in ("", "authentication-")),
                f"--authorization-kubeconfig={self.kubeconfig}",
                "--secure-port=0",
                "--leader-elect=false",
                "--kube-api-qps=300",
                "--kube-api-burst=600",
                f"--controllers={','.join(_CONTROLLERS)}",
                "--horizontal-pod-autoscaler-sync-period=1s",
            ],
        )

    def start_api_server(self) -> None:
        """Start the API server alone, also after it was killed."""
        program = self._programs.program(PROGRAMS, "kube-apiserver")
        self._spawn("api", program, self._api_flags())
        until = time.monotonic() + _START_SECONDS
        while not self._is_ready():
            if time.monotonic() > until or self._processes["api"].poll() is not None:
                raise RuntimeError((self.folder / "api.log").read_text()[-3000:])
            time.sleep(0.1)

    def start_scheduler(self) -> None:
        """Start the scheduler, which puts every pending pod of the control plane on its nodes."""
        self._spawn(
            "scheduler",
            self._programs.program(PROGRAMS, "kube-scheduler"),
            [
                *(f"--{kind}kubeconfig={self.kubeconfig}" for kind in ("", "authentication-")),
                f"--authorization-kubeconfig={self.kubeconfig}",
                "--secure-port=0",
                "--leader-elect=false",
                "--kube-api-qps=300",
                "--kube-api-burst=600",
            ],
        )

    def kill(self, name: str) -> None:
        """Kill -9 one process and wait for its end."""
        process = self._processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)

    def stop(self) -> None:
        """End all; nothing is left but the logs."""
        for name in list(self._processes):
            self.kill(name)
        if self._ports:
            self._api.close()
        for held in self._held:
            held.close()
        shutil.rmtree(self.folder / "etcd", ignore_errors=True)

    def call(
        self, method: str, path: str, body: Any = None, kind: str = "application/json"
    ) -> dict[str, Any]:
        """One request of the API as its administrator."""
        written = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind}
        result: dict[str, Any] = json.loads(self._api.request(method, path, written, headers, 10))
        return result

    def remove_namespace(self, name: str) -> None:
        """Delete a namespace and what nobody here will let go: a namespace that cannot go is tried
        again and again, which costs as much as the tests do.
        """
        path = f"/namespaces/{name}"
        self.call("DELETE", f"/api/v1{path}")
        for api, plurals in _HELD.items():
            for plural in plurals:
                for held in self._names(f"{api}{path}/{plural}"):
                    self._release(f"{api}{path}/{plural}/{held}")
        # Their nodes have no kubelet to end them.
        self.call("DELETE", f"/api/v1{path}/pods", {"gracePeriodSeconds": 0})

    def ending_namespaces(self) -> list[str]:
        """Those that are deleted and have not gone."""
        found = self.call("GET", "/api/v1/namespaces")["items"]
        return [one["metadata"]["name"] for one in found if "deletionTimestamp" in one["metadata"]]

    def _names(self, path: str) -> list[str]:
        """The objects of a kind; none where the kind is not known."""
        try:
            return [found["metadata"]["name"] for found in self.call("GET", path)["items"]]
        except urllib.error.HTTPError as error:
            if error.code != http.HTTPStatus.NOT_FOUND:
                raise
            return []

    def _release(self, path: str) -> None:
        """Take an object's finalizers; what has gone meanwhile has none."""
        released = {"metadata": {"finalizers": None}}
        try:
            self.call("PATCH", path, released, "application/merge-patch+json")
        except urllib.error.HTTPError as error:
            if error.code != http.HTTPStatus.NOT_FOUND:
                raise

    def _is_ready(self) -> bool:
        try:
            self._api.request("GET", "/readyz", None, {}, 2)
        except (OSError, http.client.HTTPException):
            return False
        return True

    def _spawn(self, name: str, program: Path, flags: list[str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [str(program), *flags], stdout=log, stderr=log, cwd=self.folder, env=os.environ
            )

    def _etcd_flags(self) -> list[str]:
        client = f"http://127.0.0.1:{self._ports['etcd']}"
        peer = f"http://127.0.0.1:{self._ports['peer']}"
        return [
            f"--data-dir={self.folder / 'etcd'}",
            "--unsafe-no-fsync",
            "--socket-reuse-port",
            "--log-level=warn",
            "--name=n",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=n={peer}",
        ]

    def _api_flags(self) -> list[str]:
        return [
            f"--etcd-servers=http://127.0.0.1:{self._ports['etcd']}",
            "--bind-address=127.0.0.1",
            "--advertise-address=192.0.2.1",
            "--endpoint-reconciler-type=none",
            f"--secure-port={self._ports['api']}",
            "--permit-port-sharing",
            f"--cert-dir={self.folder / 'certificates'}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            f"--audit-policy-file={self.folder / 'audit.json'}",
            f"--audit-log-path={self.audit_log}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.folder / 'sa.pub'}",
            f"--service-account-signing-key-file={self.folder / 'sa.key'}",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
            "--shutdown-delay-duration=0s",
        ]

    def _write_files(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "tokens.csv").write_text(
            f'{TOKEN},admin,1,"system:masters"\n'
            f'{_OPERATOR_TOKEN},{OPERATOR},2,"system:serviceaccounts"\n'
        )
        policy = {
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata", "users": [OPERATOR]}, {"level": "None"}],
        }
        (self.folder / "audit.json").write_text(json.dumps(policy))
        key, public = self.folder / "sa.key", self.folder / "sa.pub"
        make = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key]
        subprocess.run(make, check=True, capture_output=True, timeout=30)
        show = ["openssl", "ec", "-in", key, "-pubout", "-out", public]
        subprocess.run(show, check=True, capture_output=True, timeout=30)
        self.kubeconfig.write_text(json.dumps(self._client(TOKEN)))
        self.operator_kubeconfig.write_text(json.dumps(self._client(_OPERATOR_TOKEN)))

    def _client(self, token: str) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "admin",
            "clusters": [
                {"name": "c", "cluster": {"server": self.server, "insecure-skip-tls-verify": True}}
            ],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": "admin", "context": {"cluster": "c", "user": "admin"}}],
        }


def _hold_port() -> socket.socket:
    """A port that nobody else is given, also while the program that shares it does not run."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("127.0.0.1", 0))
    return held
