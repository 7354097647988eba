"""From the release before to this one with Helm, while models are served and an engine is built."""

import contextlib
import json
import os
import subprocess
import sys
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import previous_release
import pytest
from build_story import KEY, claim, condition, ended, engine_build, published
from control_plane import ControlPlane
from serving_story import API, running

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
HELM = Path(sys.executable).parent / "helm"
SYSTEM, TEAM = "nacelle-system", "team"
GRACE_SECONDS = 30
ABI = "torch2.11.0-triton3.6.0-ops1"
ENGINE = f"eng-{KEY[:16]}"
OURS = ("enginebuilds", "engines", "inferencedeployments")
Manifest = dict[str, Any]


class Release:
    """A control plane of its own, what Helm installs there, and one namespace of a team."""

    def __init__(self, plane: ControlPlane, folder: Path, until: Callable[..., Any]) -> None:
        self.plane, self.folder, self.until = plane, folder, until

    def helm(self, *arguments: str) -> None:
        command = [str(HELM), *arguments, "-n", SYSTEM, f"--kubeconfig={self.plane.kubeconfig}"]
        home = {name: str(self.folder) for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME")}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, env={**os.environ, **home}
        )
        assert done.returncode == 0, done.stderr

    @contextlib.contextmanager
    def operator(self, *code: Path) -> Iterator[subprocess.Popen[bytes]]:
        """The operator's process, its code from these folders; ended as a kubelet ends a pod's."""
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(map(str, code)),
            "KUBECONFIG": str(self.plane.kubeconfig),
            "NACELLE_BUILDER_IMAGE": f"builder:{code[0].parent.name}",
            "NACELLE_RUNTIME_IMAGES": json.dumps({ABI: "runtime:1"}),
            "NACELLE_PORT": "0",
            "POD_NAMESPACE": SYSTEM,
            "PYTHONWARNINGS": "ignore",
        }
        with (self.folder / "operator.log").open("ab") as log:
            command = [sys.executable, "-m", "nacelle_operator"]
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield process
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=GRACE_SECONDS)
        finally:
            process.kill()
            process.wait()
            print((self.folder / "operator.log").read_text())

    def path(self, api: str, plural: str, name: str = "", namespace: str = TEAM) -> str:
        place = f"/namespaces/{namespace}" if namespace else ""
        prefix = "api" if api == "v1" else "apis"
        return f"/{prefix}/{api}{place}/{plural}" + (f"/{name}" if name else "")

    def create(self, plural: str, manifest: Manifest) -> None:
        self.plane.call("POST", self.path(manifest["apiVersion"], plural), manifest)

    def listed(self, api: str, plural: str) -> list[Manifest]:
        items: list[Manifest] = self.plane.call("GET", self.path(api, plural))["items"]
        return [item for item in items if not item["metadata"].get("deletionTimestamp")]

    def ready(self, plural: str, name: str) -> str:
        found = self.plane.call("GET", self.path(API, plural, name))
        return str(condition(found, "Ready").get("reason", ""))

    def set_status(self, pod: str, status: Manifest) -> None:
        path = self.path("v1", "pods", pod) + "/status"
        self.plane.call("PATCH", path, {"status": status}, "application/merge-patch+json")

    def pods(self, label: str) -> list[str]:
        found = [p["metadata"] for p in self.listed("v1", "pods")]
        return sorted(meta["name"] for meta in found if label in json.dumps(meta["labels"]))

    def identities(self) -> dict[str, str]:
        """Everything that the operator has made, or that was made of it, by its uid."""
        kinds = {
            "batch/v1": ("jobs",),
            "apps/v1": ("deployments", "replicasets", "controllerrevisions"),
            "v1": ("pods", "services"),
            API: OURS,
        }
        return {
            found["metadata"]["uid"]: f"{plural} {found['metadata']['name']}"
            for api, plurals in kinds.items()
            for plural in plurals
            for found in self.listed(api, plural)
        }


@pytest.fixture
def release(tmp_path: Path, until: Callable[..., Any]) -> Iterator[Release]:
    plane = ControlPlane(tmp_path / "plane")
    try:
        plane.start()
        yield Release(plane, tmp_path, until)
    finally:
        plane.stop()


def test_an_upgrade_restarts_nothing_and_an_uninstall_leaves_what_is_the_users(
    release: Release,
) -> None:
    old = release.folder / "previous"
    previous_release.unpack(old)
    release.helm("install", "nacelle", str(old / previous_release.CHART), "--create-namespace")
    # Python 3.11 may drop the end of this one, whose waits are asyncio.wait_for's.
    with release.operator(old / "operator", old / "engine"):
        store_and_serve(release)
    before = release.identities()
    templates = {d["metadata"]["name"]: d["spec"]["template"] for d in deployments(release)}

    release.helm("upgrade", "nacelle", str(ROOT / "charts" / "nacelle"))
    assert "maxMemory" in json.dumps(definition(release, "enginebuilds"))
    release.until(lambda: all(is_served(release, plural) for plural in OURS))
    for plural in OURS:
        for stored in release.listed(API, plural):
            is_valid_anew(release, plural, stored)
    with release.operator(ROOT / "operator", ROOT / "engine") as today:
        is_looked_at_by(release, "builder:" + ROOT.name)
        assert release.identities() == before
        release.set_status(release.pods('engine-build": "going')[0], ended(published("cd" * 32)))
        release.until(lambda: release.ready("enginebuilds", "going") == "AllTargetsPublished")
        scale = {"spec": {"replicas": 3}}
        path = release.path(API, "inferencedeployments", "chat")
        release.plane.call("PATCH", path, scale, "application/merge-patch+json")
        release.until(lambda: len(release.pods("inference-deployment")) == 3)
    assert today.returncode == 0
    assert {d["metadata"]["name"]: d["spec"]["template"] for d in deployments(release)} == templates
    left = release.identities()
    assert before.items() <= left.items(), "an upgrade restarts nothing"
    made = sorted(left[uid].split()[0] for uid in left.keys() - before.keys())
    assert made == ["engines", "pods"]

    release.helm("uninstall", "nacelle", "--wait")
    assert release.identities() == left
    assert leftovers(release.plane) == ["leases nacelle-operator"]
    names = {f"{plural}.nacelle.dev" for plural in OURS}
    crds = release.plane.call("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
    assert {crd["metadata"]["name"] for crd in crds["items"]} == names


def store_and_serve(release: Release) -> None:
    """A build that is done, its engine served by two pods, and a build that goes on."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TEAM}}
    release.plane.call("POST", "/api/v1/namespaces", namespace)
    for name in ("models", "engines"):
        release.create("persistentvolumeclaims", claim(name))
    release.create("enginebuilds", engine_build("done"))
    (pod,) = release.until(lambda: release.pods('engine-build": "done'))
    release.set_status(pod, ended(published().replace("ops6", "ops1")))
    release.until(lambda: release.ready("enginebuilds", "done") == "AllTargetsPublished")
    release.create("enginebuilds", engine_build("going", limits={"maxBatchSize": 8}))
    (pod,) = release.until(lambda: release.pods('engine-build": "going'))
    release.set_status(pod, {"phase": "Running"})
    chat = {
        "apiVersion": API,
        "kind": "InferenceDeployment",
        "metadata": {"name": "chat"},
        "spec": {"engine": {"buildRef": {"name": "done", "target": "cpu"}}, "replicas": 2},
    }
    release.create("inferencedeployments", chat)
    for pod in release.until(lambda: len(p := release.pods("inference-deployment")) == 2 and p):
        release.set_status(pod, running(True))
    release.until(lambda: release.ready("inferencedeployments", "chat") == "Serving")


def deployments(release: Release) -> list[Manifest]:
    return release.listed("apps/v1", "deployments")


def definition(release: Release, plural: str) -> Manifest:
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    return release.plane.call("GET", f"{path}/{plural}.nacelle.dev")


def is_served(release: Release, plural: str) -> bool:
    """Whether the API server has taken in a definition that has just changed."""
    try:
        release.listed(API, plural)
    except urllib.error.HTTPError as error:
        assert error.code == 429
        return False
    return True


def is_valid_anew(release: Release, plural: str, stored: Manifest) -> None:
    """An update passes over what was invalid before; whoever creates the same is told."""
    meta = stored["metadata"]
    again = {**stored, "metadata": {"name": meta["name"], "labels": meta.get("labels", {})}}
    path = release.path(API, plural, namespace="default") + "?dryRun=All&fieldValidation=Strict"
    release.plane.call("POST", path, again)
    same = release.path(API, plural, meta["name"]) + "?dryRun=All&fieldValidation=Strict"
    release.plane.call("PUT", same, stored)


def is_looked_at_by(release: Release, image: str) -> None:
    """Wait until the new operator has reconciled all: builds then know of its builder."""
    for name in ("done", "going"):
        release.until(
            lambda n=name: (
                f"today's builder is {image}"
                in condition(
                    release.plane.call("GET", release.path(API, "enginebuilds", n)),
                    "ToolchainOutdated",
                ).get("message", "")
            )
        )


def leftovers(plane: ControlPlane) -> list[str]:
    """What a release has left in its namespace and outside namespaces."""
    inside = {
        "v1": ("configmaps", "pods", "secrets", "serviceaccounts", "services"),
        "apps/v1": ("deployments", "replicasets"),
        "batch/v1": ("jobs",),
        "rbac.authorization.k8s.io/v1": ("roles", "rolebindings"),
        "coordination.k8s.io/v1": ("leases",),
    }
    found = [
        f"{plural} {item['metadata']['name']}"
        for api, plurals in inside.items()
        for plural in plurals
        for item in plane.call(
            "GET", f"/{'api' if api == 'v1' else 'apis'}/{api}/namespaces/{SYSTEM}/{plural}"
        )["items"]
    ]
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    for plural in ("clusterroles", "clusterrolebindings"):
        items = plane.call("GET", f"{rbac}/{plural}")["items"]
        names = [item["metadata"]["name"] for item in items]
        found += [f"{plural} {name}" for name in names if "nacelle" in name]
    return found
