"""A control plane for the tests of this folder that need one, and builders of API objects."""

import itertools
import json
import os
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from control_plane import ControlPlane
from rollout_story import a_node
from serving_story import Story

CRDS = Path(__file__).parents[2] / "crds"
Manifest = dict[str, Any]


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A real API server with our definitions installed."""
    plane = ControlPlane(tmp_path_factory.mktemp("control-plane"))
    try:
        plane.start()
        for file in sorted(CRDS.glob("*.yaml")):
            plane.call(
                "POST",
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
                yaml.load(file.read_text(), yaml.CSafeLoader),
            )
        wait_until(lambda: _are_served(plane), seconds=60)
        yield plane
        wait_until(lambda: not plane.ending_namespaces(), seconds=120)
    finally:
        plane.stop()


def _are_served(plane: ControlPlane) -> bool:
    try:
        for plural in ("enginebuilds", "engines", "inferencedeployments"):
            plane.call("GET", f"/apis/nacelle.dev/v1alpha1/{plural}")
    except urllib.error.HTTPError:  # 404 before it is known, 429 before its storage is there
        return False
    return True


@dataclass
class Namespace:
    """One namespace of the control plane, written and read without the code under test."""

    plane: ControlPlane
    name: str

    def path(self, api: str, plural: str, name: str = "") -> str:
        prefix = "api" if api == "v1" else "apis"
        return f"/{prefix}/{api}/namespaces/{self.name}/{plural}" + (f"/{name}" if name else "")

    def create(self, plural: str, manifest: Manifest) -> Manifest:
        path = self.path(manifest["apiVersion"], plural)
        return self.plane.call("POST", path, manifest)

    def list(self, api: str, plural: str) -> list[Manifest]:
        items: list[Manifest] = self.plane.call("GET", self.path(api, plural))["items"]
        return items

    def get(self, api: str, plural: str, name: str) -> Manifest | None:
        try:
            return self.plane.call("GET", self.path(api, plural, name))
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def delete(self, api: str, plural: str, name: str) -> None:
        self.plane.call("DELETE", self.path(api, plural, name), {"propagationPolicy": "Background"})

    def merge(self, api: str, plural: str, name: str, patch: Manifest) -> Manifest:
        path = self.path(api, plural, name)
        return self.plane.call("PATCH", path, patch, "application/merge-patch+json")

    def set_pod_status(self, name: str, status: Manifest) -> None:
        self.plane.call(
            "PATCH",
            self.path("v1", "pods", name) + "/status",
            {"status": status},
            "application/merge-patch+json",
        )


@pytest.fixture
def make_namespace(control_plane: ControlPlane) -> Iterator[Callable[[str], Namespace]]:
    """Makes fresh namespaces of given names; they go at the end."""
    made: list[str] = []

    def make(name: str) -> Namespace:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        control_plane.call("POST", "/api/v1/namespaces", body)
        made.append(name)
        return Namespace(control_plane, name)

    yield make
    for name in made:
        control_plane.remove_namespace(name)


@pytest.fixture
def namespace(
    make_namespace: Callable[[str], Namespace], request: pytest.FixtureRequest
) -> Namespace:
    """A fresh namespace."""
    test = request.node.name.replace("_", "-").replace("[", "-").replace("]", "")
    return make_namespace("t-" + test[:50].strip("-"))


@dataclass
class RunningOperator:
    """`python -m nacelle_operator` as a process of its own."""

    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=30)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=30)


@pytest.fixture
def start_operator(
    control_plane: ControlPlane, namespace: Namespace, tmp_path: Path
) -> Iterator[Callable[..., RunningOperator]]:
    """Starts operators that look at this test's namespace only, and ends them."""
    started: list[RunningOperator] = []
    numbers = itertools.count()

    def start(**environment: str) -> RunningOperator:
        log = tmp_path / f"operator-{next(numbers)}.log"
        env = {
            "PATH": os.environ["PATH"],
            # The code under test, also where another checkout is the one that is installed.
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "KUBECONFIG": str(control_plane.kubeconfig),
            "NACELLE_BUILDER_IMAGE": "builder:1",
            "NACELLE_NAMESPACES": namespace.name,
            "NACELLE_PORT": "0",
            "POD_NAMESPACE": namespace.name,
            "PYTHONWARNINGS": "ignore",
            **environment,
        }
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "nacelle_operator"], env=env, stdout=out, stderr=out
            )
        started.append(RunningOperator(process, log))
        return started[-1]

    yield start
    for operator in started:
        if operator.process.poll() is None:
            operator.kill()
        print(operator.log.read_text())  # shown when the test has failed


def wait_until(holds: Callable[[], Any], seconds: float = 40.0) -> Any:
    """The first true answer; a TimeoutError tells the last one."""
    until = time.monotonic() + seconds
    while True:
        answer = holds()
        if answer:
            return answer
        if time.monotonic() > until:
            raise TimeoutError(f"did not hold within {seconds:.0f} s: {json.dumps(answer)}")
        time.sleep(0.1)


@pytest.fixture
def until() -> Callable[..., Any]:
    """`wait_until`, for tests."""
    return wait_until


@pytest.fixture
def story(namespace: Namespace, until: Callable[..., Any]) -> Story:
    """An InferenceDeployment's story in a fresh namespace."""
    return Story(namespace, until)


@pytest.fixture
def node(control_plane: ControlPlane) -> Iterator[str]:
    """The name of a node, where pods become endpoints of their Services."""
    with a_node(control_plane) as name:
        yield name
