"""A GPU by dynamic resource allocation: the real scheduler finds the device that a build claims."""

import json
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from build_story import Story, claim, ended, engine_build, published
from control_plane import ControlPlane

from nacelle_engine.result import Prepared, Result

pytestmark = pytest.mark.slow
CRDS = Path(__file__).parents[2] / "crds"
DRA = "resource.k8s.io/v1"
DRIVER = "gpu.nvidia.com"
PREPARED = Result(prepared=Prepared(until="convert")).message()
# Node: product, compute capability, memory.
GPUS = {
    "h100": ("NVIDIA H100 80GB HBM3", "9.0.0", "80Gi"),
    "h200": ("NVIDIA H200", "9.0.0", "141Gi"),
    "l40s": ("NVIDIA L40S", "8.9.0", "46Gi"),
}
Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def control_plane(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ControlPlane]:
    """One of its own, as its scheduler takes all pods."""
    plane = ControlPlane(tmp_path_factory.mktemp("claims"))
    try:
        plane.start()
        for file in sorted(CRDS.glob("*.yaml")):
            path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            plane.call("POST", path, yaml.safe_load(file.read_text()))
        for name, gpu in GPUS.items():
            plane.call("POST", "/api/v1/nodes", node(name))
            # The taint of a new node, which no controller takes away here.
            patch = {"spec": {"taints": None}}
            plane.call("PATCH", f"/api/v1/nodes/{name}", patch, "application/merge-patch+json")
            plane.call("POST", f"/apis/{DRA}/resourceslices", resource_slice(name, *gpu))
        plane.call("POST", f"/apis/{DRA}/deviceclasses", device_class())
        plane.start_scheduler()
        yield plane
    finally:
        plane.stop()


def node(name: str) -> Manifest:
    room = {"cpu": "32", "memory": "256Gi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/arch": "amd64"}},
        "status": {
            "capacity": room,
            "allocatable": room,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def resource_slice(name: str, product: str, capability: str, memory: str) -> Manifest:
    """What NVIDIA's driver publishes of a node's GPU."""
    attributes = {
        "productName": {"string": product},
        "cudaComputeCapability": {"version": capability},
    }
    device = {
        "name": "gpu-0",
        "attributes": attributes,
        "capacity": {"memory": {"value": memory}},
    }
    return {
        "apiVersion": DRA,
        "kind": "ResourceSlice",
        "metadata": {"name": name},
        "spec": {
            "driver": DRIVER,
            "nodeName": name,
            "pool": {"name": name, "generation": 1, "resourceSliceCount": 1},
            "devices": [device],
        },
    }


def device_class() -> Manifest:
    return {
        "apiVersion": DRA,
        "kind": "DeviceClass",
        "metadata": {"name": DRIVER},
        "spec": {"selectors": [{"cel": {"expression": f"device.driver == '{DRIVER}'"}}]},
    }


@pytest.fixture
def story(namespace: Any, until: Callable[..., Any]) -> Iterator[Story]:
    """A namespace whose claims are bound: a scheduler waits for that."""

    def is_served() -> bool:
        try:
            return bool(namespace.list("nacelle.dev/v1alpha1", "enginebuilds") == [])
        except urllib.error.HTTPError:
            return False

    until(is_served)
    for name in ("models", "engines"):
        bound = claim(name)
        bound["metadata"]["annotations"] = {"pv.kubernetes.io/bind-completed": "yes"}
        bound["spec"]["volumeName"] = f"{namespace.name}-{name}"[-63:]
        reference = {"name": name, "namespace": namespace.name}
        volume = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": bound["spec"]["volumeName"]},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "capacity": {"storage": "1Gi"},
                "hostPath": {"path": "/nowhere"},
                "claimRef": reference,
            },
        }
        namespace.plane.call("POST", "/api/v1/persistentvolumes", volume)
        namespace.create("persistentvolumeclaims", bound)
    yield Story(namespace, until)


def target(**wish: Any) -> Manifest:
    """One for 9.0, with little memory asked for."""
    small = {"requests": {"cpu": "1", "memory": "1Gi"}}
    return {"name": "t", "architecture": "sm_90", "resources": small, "deviceClaim": {}, **wish}


def pod_of(story: Story, step: str) -> Manifest | None:
    pods = [p for p in story.pods() if p["metadata"]["labels"]["nacelle.dev/step"] == step]
    return pods[0] if pods else None


def begin(story: Story, **wish: Any) -> None:
    """A build whose first Job is done."""
    story.namespace.create("enginebuilds", engine_build("b", targets=[target(**wish)]))
    first = story.until(lambda: pod_of(story, "prepare"))
    assert "resourceClaims" not in first["spec"]
    story.namespace.set_pod_status(first["metadata"]["name"], ended(PREPARED))


@pytest.mark.parametrize(
    ("wish", "place"),
    [
        ({"gpuProducts": ["NVIDIA-H200"]}, "h200"),
        (
            {
                "deviceClaim": {
                    "selectors": [
                        f"device.capacity['{DRIVER}'].memory.compareTo(quantity('100Gi')) < 0"
                    ]
                }
            },
            "h100",
        ),
        ({"architecture": "sm_89"}, "l40s"),
    ],
    ids=["product", "selector", "architecture"],
)
def test_the_device_that_is_claimed_is_given(
    story: Story, start_operator: Callable[..., Any], wish: Manifest, place: str
) -> None:
    start_operator()
    begin(story, **wish)

    def scheduled() -> Manifest | None:
        pod = pod_of(story, "build")
        return pod if pod and pod["spec"].get("nodeName") else None

    try:
        pod = story.until(scheduled)
    except TimeoutError:
        raise AssertionError(json.dumps(story.pods(), indent=1)) from None
    assert pod["spec"]["nodeName"] == place
    (made,) = story.namespace.list(DRA, "resourceclaims")
    (given,) = made["status"]["allocation"]["devices"]["results"]
    assert (given["driver"], given["pool"], given["device"]) == (DRIVER, place, "gpu-0")
    assert len(story.namespace.list(DRA, "resourceclaimtemplates")) == 1
    story.namespace.set_pod_status(pod["metadata"]["name"], ended(published()))
    story.reaches("Ready", "AllTargetsPublished")
    story.namespace.delete("nacelle.dev/v1alpha1", "enginebuilds", "b")
    for plural in ("resourceclaimtemplates", "resourceclaims"):
        story.until(lambda p=plural: story.namespace.list(DRA, p) == [])


def test_no_device_that_fits_is_told(story: Story, start_operator: Callable[..., Any]) -> None:
    start_operator()
    begin(story, gpuProducts=["NVIDIA-B200"])
    told = story.reaches("Reconciling", "NoMatchingNode")
    assert told["message"].startswith("t: no node takes a build for sm_90 yet: 0/3 nodes are")
    assert "cannot allocate all claims" in told["message"]
