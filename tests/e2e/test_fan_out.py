"""One build for four GPUs: kwok's nodes beside the real one, the scheduler and all else real."""

import json
from typing import Any

import kwok
import pytest

from nacelle_demo.kubectl import condition, is_true
from nacelle_engine.abi import ABI
from nacelle_engine.errors import CompileFailed
from nacelle_engine.result import Failure, Prepared, Published, Result

pytestmark = pytest.mark.e2e
PRODUCTS = {
    "h100": ("NVIDIA-H100-80GB-HBM3", "9.0", 81559),
    "h200": ("NVIDIA-H200", "9.0", 143771),
    "a100": ("NVIDIA-A100-SXM4-80GB", "8.0", 81920),
    "l40s": ("NVIDIA-L40S", "8.9", 46068),
}
ARCHITECTURES = {"9.0": "sm_90", "8.0": "sm_80", "8.9": "sm_89"}
FAILS = "l40s"
SECONDS = 120.0
STORE = {"persistentVolumeClaim": {"claimName": "fan-out"}}


def end(target: str) -> kwok.End:
    """One fails for good; the others publish."""
    if target == FAILS:
        failure = Failure(code="CompileFailed", message="no tile fits", stage="compile")
        return kwok.End(CompileFailed.exit_code, Result(failure=failure).message())
    key = target.encode().hex().ljust(64, "0")
    published = Published(engine_key=key, path=f"engines/{key}", digest=key, bytes=8 << 30, abi=ABI)
    return kwok.End(0, Result(published=published).message())


@pytest.fixture(scope="module")
def gpus(place, stack, tmp_path_factory):
    """The fake nodes, and a claim that pods on any node may mount."""
    nodes = {name: kwok.gpu_node(f"fake-{name}", *PRODUCTS[name]) for name in PRODUCTS}
    nodes["cpu"] = kwok.cpu_node("fake-cpu")
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "fan-out"},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "capacity": {"storage": "1Gi"},
            "hostPath": {"path": "/nowhere"},
            "storageClassName": "fan-out",
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "fan-out"},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "fan-out",
        },
    }
    folder = tmp_path_factory.mktemp("kwok")
    ends = {name: end(name) for name in PRODUCTS}
    prepared = kwok.End(0, Result(prepared=Prepared(until="convert")).message())
    with kwok.running(stack.cluster.kubeconfig, folder, ends, prepared):
        stack.kubectl.apply(*nodes.values(), volume)
        place.apply(claim)
        yield
        for name in nodes:
            stack.kubectl.run("delete", "node", f"fake-{name}")
        place.delete("persistentvolumeclaim", "fan-out")
        stack.kubectl.run("delete", "persistentvolume", "fan-out")


def fan_out(*targets: str, **more: Any) -> dict[str, Any]:
    """A build of these targets, `more` in that of the failing one."""
    return {
        "apiVersion": "nacelle.dev/v1alpha1",
        "kind": "EngineBuild",
        "metadata": {"name": "fan-out"},
        "spec": {
            "modelName": "llama",
            "model": {"huggingFace": {"repo": "org/llama", "revision": "a" * 40}},
            "limits": {
                "maxBatchSize": 8,
                "maxInputLen": 512,
                "maxSeqLen": 1024,
                "maxNumTokens": 512,
            },
            "targets": [
                {
                    "name": name,
                    "architecture": ARCHITECTURES[PRODUCTS[name][1]],
                    "gpuProducts": [PRODUCTS[name][0]],
                    "minGpuMemory": f"{PRODUCTS[name][2]}Mi",
                    "tolerations": [kwok.TOLERATION],
                    "prepare": {"nodeSelector": kwok.LABEL},
                    **(more if name == FAILS else {}),
                }
                for name in targets
            ],
            "store": STORE,
        },
    }


def ended(build: dict[str, Any], generation: int) -> bool:
    return is_true(build, "Stalled") and build["status"]["observedGeneration"] == generation


def step_of(manifest: dict[str, Any]) -> tuple[str, str]:
    """The target and the step that a Job or pod is of."""
    labels = manifest["metadata"]["labels"]
    return labels["nacelle.dev/target"], labels["nacelle.dev/step"]


def jobs_of(place) -> dict[tuple[str, str], dict[str, Any]]:
    """The build's Jobs by target and step."""
    found = place.kubectl.items("jobs", place.namespace)
    mine = [
        j for j in found if j["metadata"]["labels"].get("nacelle.dev/engine-build") == "fan-out"
    ]
    return {step_of(job): job for job in mine}


def test_each_target_is_built_on_its_own_gpu_and_one_that_fails_stops_no_other(place, gpus):
    place.apply(fan_out(*PRODUCTS))
    build = place.until("enginebuild", "fan-out", "at its end", lambda b: ended(b, 1), SECONDS)
    ready = condition(build, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "TargetsFailed")
    assert ready["message"] == f"{FAILS}: CompileFailed: no tile fits"
    targets = {target["name"]: target for target in build["status"]["targets"]}
    published = {
        n for n in targets if condition({"status": targets[n]}, "Ready")["status"] == "True"
    }
    assert published == PRODUCTS.keys() - {FAILS}
    for name in PRODUCTS.keys() - {FAILS}:
        engine = place.get("engine", targets[name]["engineRef"]["name"])
        product, capability, _ = PRODUCTS[name]
        assert engine["spec"]["architecture"] == ARCHITECTURES[capability]
        assert engine["spec"]["gpuProduct"] == product
    pods = place.kubectl.items("pods", place.namespace)
    nodes = {
        step_of(pod): pod["spec"]["nodeName"]
        for pod in pods
        if pod["metadata"]["labels"].get("nacelle.dev/engine-build") == "fan-out"
    }
    on_gpus = {(name, "build"): f"fake-{name}" for name in PRODUCTS}
    assert nodes == on_gpus | {(name, "prepare"): "fake-cpu" for name in PRODUCTS}
    assert targets[FAILS]["attempts"] == 2


def test_an_edit_of_one_target_leaves_the_others_alone(place, gpus):
    before = jobs_of(place)
    place.apply(fan_out(*PRODUCTS, nodeSelector={"kubernetes.io/os": "linux"}))
    build = place.until("enginebuild", "fan-out", "at its end", lambda b: ended(b, 2), SECONDS)
    after = jobs_of(place)
    uids = [
        {name: job["metadata"]["uid"] for name, job in jobs.items()} for jobs in (before, after)
    ]
    assert {job for job in uids[0] | uids[1] if uids[0].get(job) != uids[1].get(job)} == {
        (FAILS, "build")
    }
    assert json.dumps(build["status"]).count("CompileFailed") >= 1
    place.delete("enginebuild", "fan-out")
