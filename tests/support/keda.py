"""A real KEDA: its operator and its metrics server, built from their Go module, in a cluster.

Kept under ${NACELLE_CACHE}/tests/keda. The module is built as the dependency of a module of ours,
whose go.mod and go.sum repeat its own.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from kept import kept

from nacelle_cluster.connection import Cluster
from nacelle_cluster.images import ImageContent, write_layout
from nacelle_demo.kubectl import Kubectl, condition
from nacelle_demo.waiting import wait_for

MODULE = "github.com/kedacore/keda/v2"
VERSION = "v2.21.0"
SUM = "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps="
NAMESPACE = "keda"
# 5 minutes on two idle cores, and most of an hour was seen on two that ten others use.
BUILD_SECONDS = 5400
READY_SECONDS = 300.0
# What it is installed from, below the module's folder config.
_PARTS = (
    "general/namespace.yaml",
    "crd/bases/*.yaml",
    "service_account/service_account.yaml",
    "rbac/role.yaml",
    "rbac/role_binding.yaml",
    "manager/*.yaml",
    "metrics-server/*.yaml",
)


def install(cluster: Cluster, kubectl: Kubectl, folder: Path) -> None:
    """Bring KEDA into a cluster, and wait until it works."""
    image = _image(cluster, folder)
    manifests = yaml.safe_dump_all(_with_image(_manifests(), image))
    apply = ("apply", "--server-side", "--force-conflicts", "-f", "-")
    kubectl.run(*apply, stdin=manifests, deadline=120)
    for name in ("keda-operator", "keda-metrics-apiserver"):
        _await(kubectl, "deployment", name)
    _await(kubectl, "apiservice", "v1beta1.external.metrics.k8s.io")


def remove(kubectl: Kubectl) -> None:
    """Take it away again, its kinds last."""
    delete = ("delete", "--ignore-not-found", "--wait=false", "-f", "-")
    manifests = [m for m in _manifests() if m["kind"] != "Namespace"]
    kubectl.run(*delete, stdin=yaml.safe_dump_all(manifests), deadline=120)
    kubectl.run("delete", "namespace", NAMESPACE, "--timeout=90s", deadline=120)


def logs(kubectl: Kubectl) -> str:
    """What the operator said last, for a failure's text."""
    return kubectl.run("-n", NAMESPACE, "logs", "deploy/keda-operator", "--tail=40")


def _await(kubectl: Kubectl, kind: str, name: str) -> None:
    def look() -> bool:
        found = condition(kubectl.get(kind, name, NAMESPACE), "Available")
        return found is not None and found["status"] == "True"

    wait_for(f"{kind} {name}", look, deadline=READY_SECONDS)


def _module() -> dict[str, str]:
    """Where Go keeps the module, as it is published."""
    command = ["go", "mod", "download", "-json", f"{MODULE}@{VERSION}"]
    told = subprocess.run(command, check=True, capture_output=True, cwd="/", timeout=300)
    found: dict[str, str] = json.loads(told.stdout)
    assert found["Sum"] == SUM, found
    return found


def _programs() -> Path:
    """The folder of the two programs; built when they are not there."""
    folder = kept("keda") / VERSION
    programs = folder / "bin"
    if all((programs / name).is_file() for name in ("operator", "adapter")):
        return programs
    module = _module()
    folder.mkdir(parents=True, exist_ok=True)
    theirs = Path(module["Dir"])
    _, _, terms = (theirs / "go.mod").read_text().partition("\n")
    ours = f"module keda-programs\n{terms}\nrequire {MODULE} {VERSION}\n"
    (folder / "go.mod").write_text(ours)
    sums = f"{MODULE} {VERSION} {SUM}\n{MODULE} {VERSION}/go.mod {module['GoModSum']}\n"
    (folder / "go.sum").write_text((theirs / "go.sum").read_text() + sums)
    mains = [f"{MODULE}/cmd/operator", f"{MODULE}/cmd/adapter"]
    flags = ["-mod=mod", "-ldflags", "-s -w", "-o", f"{programs}/"]
    environment = {**os.environ, "CGO_ENABLED": "0"}
    environment |= {"GOFLAGS": "-trimpath -buildvcs=false -modcacherw"}
    build = ["go", "build", *flags, *mains]
    subprocess.run(build, check=True, cwd=folder, timeout=BUILD_SECONDS, env=environment)
    return programs


def _image(cluster: Cluster, folder: Path) -> str:
    """An image over scratch with both programs, in the cluster's registry."""
    programs = _programs()
    files = {"keda": programs / "operator", "keda-adapter": programs / "adapter"}
    layout = write_layout(ImageContent(files, {"User": "1000:1000"}), folder / "keda")
    return cluster.push_image(layout, "tests/keda", VERSION)


def _manifests() -> list[dict[str, Any]]:
    """KEDA's own, as its makers publish them."""
    root = Path(_module()["Dir"]) / "config"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found = []
    for part in _PARTS:
        for file in sorted(root.glob(part)):
            if file.name != "kustomization.yaml":
                found += [m for m in yaml.load_all(file.read_text(), loader) if m]
    return found


def _with_image(manifests: list[dict[str, Any]], image: str) -> Iterator[dict[str, Any]]:
    """The same with our image; without admission webhooks, and ready as soon as they are."""
    for manifest in manifests:
        if manifest["kind"] == "Deployment":
            (container,) = manifest["spec"]["template"]["spec"]["containers"]
            container["image"] = image
            container["readinessProbe"] |= {"initialDelaySeconds": 1, "periodSeconds": 2}
            if manifest["metadata"]["name"] == "keda-operator":
                container["args"].append("--enable-webhook-patching=false")
        yield manifest
