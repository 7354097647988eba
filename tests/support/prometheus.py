"""A real Prometheus in a cluster, which reads serving pods as a PodMonitor would have it.

Debian's program, with the C library that it needs, in an image over scratch.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from kept import kept

from nacelle_cluster import debian
from nacelle_cluster.images import ImageContent, write_layout
from nacelle_demo.kubectl import is_true
from nacelle_demo.stack import Stack
from nacelle_demo.waiting import wait_for

NAME = "prometheus"
PORT = 9090
SERVING_PORT = 8000
READY_SECONDS = 300.0
_LIBRARIES = ("lib64/ld-linux-x86-64.so.2", "lib/x86_64-linux-gnu/libc.so.6")


class Images(NamedTuple):
    """What runs in its pod."""

    prometheus: str
    operator: str


def install(stack: Stack, namespace: str, folder: Path) -> str:
    """Bring it into a namespace, to read that one's pods; the address that it answers at there."""
    kubectl = stack.kubectl
    program = _program()
    files = {"bin/prometheus": program}
    files |= {library: Path("/", library).resolve() for library in _LIBRARIES}
    layout = write_layout(ImageContent(files, {"User": "1000:1000"}), folder / NAME)
    image = stack.cluster.push_image(layout, f"tests/{NAME}", "1")
    kubectl.apply(*_objects(namespace, Images(image, stack.images["operator"])))

    def look() -> bool:
        return is_true(kubectl.get("deployment", NAME, namespace), "Available")

    wait_for("Prometheus", look, deadline=READY_SECONDS)
    return f"http://{NAME}.{namespace}.svc:{PORT}"


def _program() -> Path:
    """The program; fetched when it is not there."""
    program = kept(NAME) / "prometheus"
    if not program.is_file():
        program.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as name:
            work = Path(name)
            debian.unpack(["prometheus"], work / "root", suite=None, work=work / "apt")
            made = shutil.move(work / "root" / "usr/bin/prometheus", program.with_suffix(".new"))
        Path(made).rename(program)
    return program


# Debian's program knows no discovery by Kubernetes: this tells it of the pods, with the labels
# namespace and pod that the Prometheus Operator gives to a PodMonitor's series.
_DISCOVERY = """
import json, os, sys, time
from kubernetes import client, config
config.load_incluster_config()
namespace, port, place = sys.argv[1:]
while True:
    pods = client.CoreV1Api().list_namespaced_pod(
        namespace, label_selector="nacelle.dev/inference-deployment", _request_timeout=10
    )
    found = [
        {
            "targets": [f"{pod.status.pod_ip}:{port}"],
            "labels": {"namespace": namespace, "pod": pod.metadata.name},
        }
        for pod in pods.items
        if pod.status.pod_ip and pod.status.phase == "Running"
    ]
    with open(place + ".new", "w") as out:
        json.dump(found, out)
    os.rename(place + ".new", place)
    time.sleep(2)
"""
_TARGETS = "/data/pods.json"


def _settings() -> str:
    job = {
        "job_name": "pods",
        "scrape_interval": "2s",
        "file_sd_configs": [{"files": [_TARGETS], "refresh_interval": "2s"}],
    }
    return yaml.safe_dump({"scrape_configs": [job]})


def _objects(namespace: str, images: Images) -> list[dict[str, Any]]:
    metadata = {"name": NAME, "namespace": namespace}
    labels = {"app": NAME}
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME}
    account = {"kind": "ServiceAccount", "name": NAME, "namespace": namespace}
    rbac = "rbac.authorization.k8s.io/v1"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": rbac, "kind": "Role", "metadata": metadata, "rules": [rule]},
        {
            "apiVersion": rbac,
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": reference,
            "subjects": [account],
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {"prometheus.yml": _settings(), "discovery.py": _DISCOVERY},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": labels, "ports": [{"port": PORT}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": _pod(namespace, images)},
            },
        },
    ]


def _pod(namespace: str, images: Images) -> dict[str, Any]:
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    mounts = [
        {"name": "settings", "mountPath": "/settings"},
        {"name": "data", "mountPath": "/data"},
    ]
    common = {"securityContext": security, "volumeMounts": mounts}
    return {
        "serviceAccountName": NAME,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": NAME,
                "image": images.prometheus,
                "command": ["/bin/prometheus"],
                "args": ["--config.file=/settings/prometheus.yml", "--storage.tsdb.path=/data"],
                "ports": [{"containerPort": PORT}],
                "readinessProbe": {"httpGet": {"path": "/-/ready", "port": PORT}},
                **common,
            },
            {
                "name": "discovery",
                "image": images.operator,
                "command": ["python", "/settings/discovery.py"],
                "args": [namespace, str(SERVING_PORT), _TARGETS],
                **common,
            },
        ],
        "volumes": [
            {"name": "settings", "configMap": {"name": NAME}},
            {"name": "data", "emptyDir": {}},
        ],
    }
