"""`nacelle status` against a real API server: what it refuses by name, and a build that moves."""

import json
import os
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from control_plane import ControlPlane
from status_cases import building, published, serving

pytestmark = pytest.mark.slow
CRDS = Path(__file__).parents[2] / "crds"
SPECS = {
    "enginebuilds": {
        "modelName": "m",
        "model": {"persistentVolumeClaim": {"claimName": "models", "path": "m"}},
        "targets": [{"name": "cpu", "architecture": "x86-64-v3"}],
        "store": {"persistentVolumeClaim": {"claimName": "engines"}},
    },
    "inferencedeployments": {"engine": {"buildRef": {"name": "b", "target": "cpu"}}, "replicas": 2},
}
API = "/apis/nacelle.dev/v1alpha1"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server that does not know our kinds yet."""
    plane = ControlPlane(tmp_path_factory.mktemp("control-plane"))
    try:
        plane.start()
        yield plane
    finally:
        plane.stop()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", "nacelle_cli.main", "status", *arguments]


def status(kubeconfig: Path, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        command(*arguments),
        env={**os.environ, "KUBECONFIG": str(kubeconfig)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def install(plane: ControlPlane) -> None:
    for file in sorted(CRDS.glob("*.yaml")):
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        plane.call("POST", path, yaml.safe_load(file.read_text()))
    until = time.monotonic() + 60
    while True:
        try:
            served = {each["name"] for each in plane.call("GET", API)["resources"]}
        except urllib.error.HTTPError:
            served = set()
        if {"enginebuilds", "inferencedeployments"} <= served:
            return
        assert time.monotonic() < until, served
        time.sleep(0.2)


def create(plane: ControlPlane, manifest: dict[str, Any], plural: str) -> None:
    made = {key: manifest[key] for key in ("apiVersion", "kind")}
    made |= {"metadata": {"name": manifest["metadata"]["name"]}, "spec": SPECS[plural]}
    plane.call("POST", f"{API}/namespaces/default/{plural}", made)


def tell(plane: ControlPlane, manifest: dict[str, Any], plural: str) -> None:
    path = f"{API}/namespaces/default/{plural}/{manifest['metadata']['name']}/status"
    fields = {"status": manifest["status"]}
    plane.call("PATCH", path, fields, "application/merge-patch+json")


def test_status_of_a_real_cluster(plane: ControlPlane, tmp_path: Path) -> None:
    code, _, error = status(plane.kubeconfig)
    assert code == 65
    assert error == (
        "nacelle status: DefinitionsMissing: the cluster does not know enginebuilds.nacelle.dev: "
        "install the chart, or kubectl apply -f crds/\n"
    )

    install(plane)
    assert status(plane.kubeconfig) == (
        0,
        "no EngineBuild and no InferenceDeployment in namespace default\n",
        "",
    )
    code, _, error = status(plane.kubeconfig, "b", "-n", "team")
    assert code == 65
    assert error == (
        "nacelle status: NoSuchResource: no EngineBuild and no InferenceDeployment b in namespace "
        "team: nor any other; -n names another namespace\n"
    )

    stranger = tmp_path / "stranger"
    config = json.loads(plane.kubeconfig.read_text())
    stranger.write_text(json.dumps({**config, "users": [{"name": "admin", "user": {}}]}))
    code, _, error = status(stranger)
    assert code == 65
    assert error == (
        f"nacelle status: AccessRefused: GET {API}/namespaces/default/enginebuilds: 403: "
        'enginebuilds.nacelle.dev is forbidden: User "system:anonymous" cannot list resource '
        '"enginebuilds" in API group "nacelle.dev" in the namespace "default"; needed are get '
        "and list of enginebuilds.nacelle.dev\n"
    )

    create(plane, building(), "enginebuilds")
    create(plane, serving(), "inferencedeployments")
    watch = subprocess.Popen(
        command("--watch", "--timeout", "120"),
        env={**os.environ, "KUBECONFIG": str(plane.kubeconfig)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert watch.stdout is not None
        first = watch.stdout.readline()
        assert first.startswith("EngineBuild b: not seen yet: NotSeenYet: ")
        tell(plane, building(), "enginebuilds")
        shown = iter(watch.stdout.readline, "")
        at_work = "  b/cpu (x86-64-v3): 35 % convert: layer 3 of 30\n"
        assert at_work in shown
        tell(plane, published(), "enginebuilds")
        tell(plane, serving(), "inferencedeployments")
        rest = list(shown)
        assert "  b/cpu (x86-64-v3): 100 % eng-1 is published\n" in rest
        assert (
            "  chat: engine eng-1, 2 of 2 replicas answer, revision 3, http://chat.ns.svc:8000/v1\n"
        ) in rest
        assert watch.wait(timeout=60) == 0
    finally:
        watch.kill()
        watch.communicate()

    code, text, _ = status(plane.kubeconfig, "chat", "-o", "json")
    found = json.loads(text)
    assert code == 0
    assert found["builds"] == []
    assert found["deployments"][0]["state"]["phase"] == "Ready"
