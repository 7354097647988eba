"""The build's Job: where it runs, what it may do, what its pod is told."""

import json
from typing import Any

import pytest
from build_world import TOOLCHAIN, World

from nacelle_builder.stages.list import PREPARING
from nacelle_engine.arch import Architecture
from nacelle_engine.request import BuildRequest
from nacelle_operator.api.engine_build import EngineBuild
from nacelle_operator.build.request import target_requests
from nacelle_operator.objects.build_job import WantedJob, build_job
from nacelle_operator.objects.gpu_labels import GpuLabels
from nacelle_operator.objects.node_affinity import GpuWish, node_affinity

HUB = {
    "huggingFace": {
        "repo": "o/m",
        "revision": "0" * 40,
        "tokenSecretRef": {"name": "hub", "key": "token"},
        "endpoint": "https://hub.example.com",
        "caBundleRef": {"name": "ca", "key": "ca.crt"},
    }
}
HOPPER = [{"name": "h", "architecture": "sm_90", "gpuProducts": ["NVIDIA-H200"]}]


def job_of(changes: dict[str, Any] | None = None, step: str = "build") -> dict[str, Any]:
    world = World()
    world.write_build("b", changes)
    build = EngineBuild.parse(world.builds["b"])
    request = target_requests(build, TOOLCHAIN)[0]
    name = request.prepare_job if step == "prepare" else request.job
    return build_job(build, request, TOOLCHAIN.builder_image, WantedJob(name))


def pod_of(job: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = job["spec"]["template"]["spec"]
    return spec


def env_of(job: dict[str, Any]) -> dict[str, Any]:
    return {
        e["name"]: e.get("value", e.get("valueFrom")) for e in pod_of(job)["containers"][0]["env"]
    }


def mounts_of(job: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    mounts = pod_of(job)["containers"][0]["volumeMounts"]
    return {mount["mountPath"]: (mount["name"], mount["readOnly"]) for mount in mounts}


def test_the_request_is_whole_in_the_environment() -> None:
    job = job_of()
    request = BuildRequest.model_validate_json(env_of(job)["NACELLE_BUILD_REQUEST"])
    assert request.folder and request.folder.path == "/source/p"
    assert request.store == "/store" and len(request.request_key) == 64
    assert pod_of(job)["containers"][0]["command"] == ["nacelle", "build", "--request-env"]


def test_a_claims_source_is_read_only_and_its_store_is_not() -> None:
    job = job_of()
    mounts = mounts_of(job)
    assert mounts["/source"] == ("source", True) and mounts["/store"] == ("store", False)
    volumes = {volume["name"]: volume for volume in pod_of(job)["volumes"]}
    assert volumes["source"]["persistentVolumeClaim"] == {"claimName": "models"}
    assert volumes["tmp"]["emptyDir"]["sizeLimit"] and volumes["home"]["emptyDir"]["sizeLimit"]


def test_a_hubs_token_endpoint_and_authority_reach_the_pod() -> None:
    job = job_of({"model": HUB})
    env = env_of(job)
    assert env["HF_TOKEN"] == {"secretKeyRef": {"name": "hub", "key": "token"}}
    assert env["HF_ENDPOINT"] == "https://hub.example.com"
    assert env["SSL_CERT_FILE"] == "/etc/nacelle/ca/ca.crt"
    assert mounts_of(job)["/etc/nacelle/ca"] == ("ca", True)
    assert "/source" not in mounts_of(job)
    assert "token" not in env["NACELLE_BUILD_REQUEST"]


def test_the_pod_is_restricted_and_bounded() -> None:
    job = job_of({"job": {"attemptTimeout": "1h30m", "backoffLimit": 5}})
    pod = pod_of(job)
    container = pod["containers"][0]
    assert pod["activeDeadlineSeconds"] == 5400 and job["spec"]["backoffLimit"] == 5
    assert "activeDeadlineSeconds" not in job["spec"]
    assert "ttlSecondsAfterFinished" not in job["spec"]
    assert pod["automountServiceAccountToken"] is False and pod["restartPolicy"] == "Never"
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["fsGroup"] == 10001
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["terminationMessagePolicy"] == "File"


def test_permanent_errors_fail_the_job_and_disruptions_do_not_count() -> None:
    disrupted, final = job_of()["spec"]["podFailurePolicy"]["rules"]
    # First, as a pod that is evicted may end by the same code as one that lacks memory.
    assert disrupted["action"] == "Ignore"
    assert final["action"] == "FailJob"
    assert final["onExitCodes"]["values"] == [65, 71, 78, 79, 137]
    assert job_of()["spec"]["podReplacementPolicy"] == "Failed"


def test_a_gpu_target_asks_for_its_capability_and_product() -> None:
    pod = pod_of(job_of({"targets": HOPPER}))
    (term,) = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert {e["key"]: e["values"] for e in term["matchExpressions"]} == {
        "nvidia.com/gpu.compute.major": ["9"],
        "nvidia.com/gpu.compute.minor": ["0"],
        "nvidia.com/gpu.product": ["NVIDIA-H200"],
    }
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert pod["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]


@pytest.mark.parametrize(
    ("asked", "above"),
    [("79Gi", "80895"), ("80896Mi", "80895"), ("80Gi", "81919"), (85899345921, "81920")],
)
def test_so_much_memory_and_no_less(asked: int | str, above: str) -> None:
    target = {"name": "g", "architecture": "sm_80", "minGpuMemory": asked}
    (term,) = pod_of(job_of({"targets": [target]}))["affinity"]["nodeAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]["nodeSelectorTerms"]
    assert term["matchExpressions"][-1] == {
        "key": "nvidia.com/gpu.memory",
        "operator": "Gt",
        "values": [above],
    }


def test_nodes_may_have_other_labels() -> None:
    labels = GpuLabels("example.com/major", "example.com/minor", "example.com/gpu", "example.com/m")
    wish = GpuWish(("A",), 1024, labels)
    (term,) = node_affinity(Architecture.SM_90, wish)["nodeAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]["nodeSelectorTerms"]
    assert [e["key"] for e in term["matchExpressions"]] == [
        "example.com/major",
        "example.com/minor",
        "example.com/gpu",
        "example.com/m",
    ]


@pytest.mark.parametrize(
    ("architecture", "levels"),
    [("x86-64-v3", ["x86-64-v3", "x86-64-v4"]), ("x86-64-v4", ["x86-64-v4"])],
)
def test_a_cpu_level_runs_on_its_own_and_higher_ones(architecture: str, levels: list[str]) -> None:
    affinity = node_affinity(Architecture(architecture), GpuWish())
    labelled, unlabelled = affinity["nodeAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]["nodeSelectorTerms"]
    assert labelled["matchExpressions"] == [
        {"key": "nacelle.dev/cpu-level", "operator": "In", "values": levels}
    ]
    assert unlabelled["matchExpressions"] == [
        {"key": "nacelle.dev/cpu-level", "operator": "DoesNotExist"},
        {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]},
    ]


def test_what_the_spec_says_of_the_pod_and_the_queue_is_kept() -> None:
    target = {
        "name": "cpu",
        "architecture": "x86-64-v3",
        "nodeSelector": {"pool": "build"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "runtimeClassName": "kata",
        "resources": {"requests": {"cpu": "3"}, "limits": {"memory": "9Gi"}},
    }
    job = {"queueName": "q", "priorityClassName": "low", "imagePullSecrets": ["r"]}
    made = job_of({"targets": [target], "job": job})
    pod = pod_of(made)
    assert made["spec"]["suspend"] is True
    assert made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "q"
    assert pod["nodeSelector"] == {"pool": "build"} and pod["runtimeClassName"] == "kata"
    assert pod["tolerations"] == [{"key": "a", "operator": "Exists"}]
    assert pod["priorityClassName"] == "low" and pod["imagePullSecrets"] == [{"name": "r"}]
    assert pod["containers"][0]["resources"] == target["resources"]


def test_the_same_request_makes_the_same_job_byte_for_byte() -> None:
    assert json.dumps(job_of()) == json.dumps(job_of())
    assert job_of()["metadata"]["name"] != job_of({"accuracy": {"samples": 8}})["metadata"]["name"]


SIZED = {"requests": {"cpu": "1", "memory": "4Gi"}, "limits": {"memory": "6Gi"}}


@pytest.mark.parametrize(
    ("target", "memory", "bound", "resources"),
    [
        ({}, 0, "16Gi", {"requests": {"cpu": "500m", "memory": "4Gi"}}),
        ({}, 8, "16Gi", {"requests": {"cpu": "500m", "memory": "8Gi"}}),
        ({"maxMemory": "5Gi"}, 8, "5Gi", {"requests": {"cpu": "500m", "memory": "5Gi"}}),
        ({"resources": SIZED}, 0, "24Gi", SIZED),
        (
            {"resources": SIZED},
            12,
            "24Gi",
            {"requests": {"cpu": "1", "memory": "8Gi"}, "limits": {"memory": "12Gi"}},
        ),
        ({"resources": SIZED}, 3, "24Gi", SIZED),
        (
            {"resources": {"limits": {"cpu": "2"}}},
            8,
            "16Gi",
            {"requests": {"memory": "8Gi"}, "limits": {"cpu": "2"}},
        ),
    ],
)
def test_memory_is_raised_within_the_bound(
    target: dict[str, Any], memory: int, bound: str, resources: dict[str, Any]
) -> None:
    world = World()
    world.write_build("b", {"targets": [{"name": "c", "architecture": "x86-64-v3", **target}]})
    build = EngineBuild.parse(world.builds["b"])
    request = target_requests(build, TOOLCHAIN)[0]
    job = build_job(build, request, TOOLCHAIN.builder_image, WantedJob(request.job, memory << 30))
    assert job["metadata"]["annotations"]["nacelle.dev/max-memory"] == bound
    given = pod_of(job)["containers"][0]["resources"]
    assert {section: amounts for section, amounts in given.items() if amounts} == resources


def test_what_needs_no_gpu_is_a_job_without_one() -> None:
    target = {
        **HOPPER[0],
        "nodeSelector": {"zone": "a"},
        "tolerations": [{"key": "pool", "operator": "Exists"}],
        "runtimeClassName": "nvidia",
        "resources": {"requests": {"memory": "64Gi"}},
    }
    job = job_of({"targets": [target]}, "prepare")
    pod = pod_of(job)
    (container,) = pod["containers"]
    assert job["metadata"]["name"].startswith("prepare-")
    assert job["metadata"]["labels"]["nacelle.dev/step"] == "prepare"
    assert container["command"] == ["nacelle", "build", "--request-env", "--until", "convert"]
    assert container["resources"] == {"requests": {"cpu": "1", "memory": "8Gi"}}
    affinity = pod["affinity"]["nodeAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert [e["key"] for e in term["matchExpressions"]] == ["kubernetes.io/arch"]
    (preferred,) = affinity["preferredDuringSchedulingIgnoredDuringExecution"]
    assert preferred["preference"]["matchExpressions"] == [
        {"key": "nvidia.com/gpu.compute.major", "operator": "DoesNotExist"}
    ]
    # All nodes may be GPUs' ones: it is let onto them.
    assert [t["key"] for t in pod["tolerations"]] == ["pool", "nvidia.com/gpu"]
    assert pod["nodeSelector"] == {"zone": "a"} and "runtimeClassName" not in pod
    assert env_of(job) == env_of(job_of({"targets": [target]}))


def test_what_is_asked_for_the_job_without_a_gpu() -> None:
    prepare = {"resources": {"requests": {"cpu": "8"}}, "nodeSelector": {"pool": "cpu"}}
    target = {**HOPPER[0], "nodeSelector": {"pool": "gpu"}, "prepare": prepare}
    pod = pod_of(job_of({"targets": [target]}, "prepare"))
    assert pod["nodeSelector"] == {"pool": "cpu"}
    assert pod["containers"][0]["resources"] == {"requests": {"cpu": "8", "memory": "8Gi"}}
    assert pod_of(job_of({"targets": [target]}))["nodeSelector"] == {"pool": "gpu"}


@pytest.mark.parametrize(
    ("quantization", "until"),
    [({}, "convert"), ({"algorithm": "NONE"}, "convert"), ({"algorithm": "FP8"}, "source")],
)
def test_only_what_needs_no_gpu_is_done_without_one(
    quantization: dict[str, Any], until: str
) -> None:
    job = job_of({"targets": HOPPER, "quantization": quantization}, "prepare")
    assert pod_of(job)["containers"][0]["command"][-1] == until
    assert until in PREPARING
