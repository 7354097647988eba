"""The operator as a process, on a real API server whose pods are moved on by the test."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from build_story import API, KEY, Manifest, Story, claim, condition, ended, engine_build, published

pytestmark = pytest.mark.slow


@pytest.fixture
def story(namespace: Any, until: Callable[..., Any]) -> Story:
    for name in ("models", "engines"):
        namespace.create("persistentvolumeclaims", claim(name))
    return Story(namespace, until)


def test_a_build_becomes_an_engine(story: Story, start_operator: Callable[..., Any]) -> None:
    start_operator(NACELLE_ENGINE_GRACE_PERIOD="2s")
    story.namespace.create("enginebuilds", engine_build("b", deletionPolicy="Delete"))
    story.ends(published())
    story.reaches("Ready", "AllTargetsPublished")
    engine = story.namespace.get(API, "engines", f"eng-{KEY[:16]}")
    assert engine and engine["spec"]["path"] == f"engines/{KEY}"
    assert engine["spec"]["deletionPolicy"] == "Delete"
    story.until(
        lambda: (
            condition(story.namespace.get(API, "engines", f"eng-{KEY[:16]}"), "Ready").get("reason")
            == "BuiltHere"
        )
    )
    build = story.build()
    assert build
    target = build["status"]["targets"][0]
    assert target["engineRef"] == {"name": f"eng-{KEY[:16]}"}
    assert target["accuracy"]["meanKLDivergence"] == "0.020"
    assert target["timings"] == [
        {"stage": "convert", "seconds": 5},
        {"stage": "compile", "seconds": 60},
    ]
    assert build["status"]["progressPercent"] == 100
    story.until(lambda: story.jobs()[0]["spec"].get("ttlSecondsAfterFinished") == 3600)
    story.until(lambda: {"BuildStarted", "EnginePublished", "BuiltHere"} <= story.events())
    assert "finalizers" not in build["metadata"] and "annotations" not in build["metadata"]

    story.namespace.delete(API, "enginebuilds", "b")
    story.until(lambda: "GracePeriod" in story.events())
    sweep = story.until(
        lambda: [p for p in story.pods() if p["metadata"]["name"].startswith("sweep-")]
    )[0]
    assert sweep["spec"]["containers"][0]["command"][-1] == f"/store/engines/{KEY}"
    story.namespace.set_pod_status(sweep["metadata"]["name"], ended(""))
    story.until(lambda: story.namespace.list(API, "engines") == [])
    story.until(lambda: story.jobs() == [])


def test_a_permanent_failure_is_told_and_not_tried_again(
    story: Story, start_operator: Callable[..., Any]
) -> None:
    start_operator()
    story.namespace.create("enginebuilds", engine_build("b"))
    failure = {
        "code": "TensorMissing",
        "message": "model.norm.weight is absent",
        "stage": "convert",
    }
    story.ends(json.dumps({"failure": failure}), code=65)
    ready = story.reaches("Ready", "TargetsFailed")
    assert ready["message"] == "cpu: TensorMissing: model.norm.weight is absent"
    assert condition(story.build(), "Stalled")["reason"] == "TargetsFailed"
    assert condition(story.build(), "Reconciling") == {}
    assert len(story.pods()) == 1
    story.until(lambda: "BuildFailed" in story.events())

    job = story.jobs()[0]["metadata"]["uid"]
    story.namespace.merge(API, "enginebuilds", "b", {"spec": {"job": {"backoffLimit": 1}}})
    story.until(lambda: [j for j in story.jobs() if j["metadata"]["uid"] != job])
    story.reaches("Ready", "Building")


def test_killed_at_any_moment_it_goes_on(story: Story, start_operator: Callable[..., Any]) -> None:
    operator = start_operator()
    story.namespace.create("enginebuilds", engine_build("b"))
    story.only_pod()
    operator.kill()
    story.ends(published())
    start_operator()
    story.reaches("Ready", "AllTargetsPublished")
    assert len(story.jobs()) == 1 and len(story.pods()) == 1


def test_a_build_deleted_while_nobody_watched(
    story: Story, start_operator: Callable[..., Any]
) -> None:
    operator = start_operator()
    story.namespace.create("enginebuilds", engine_build("b"))
    story.only_pod()
    operator.kill()
    story.namespace.delete(API, "enginebuilds", "b")
    start_operator()
    story.until(lambda: story.jobs() == [])


def test_builds_that_ask_for_the_same_share_one_job(
    story: Story, start_operator: Callable[..., Any]
) -> None:
    start_operator()
    story.namespace.create("enginebuilds", engine_build("b"))
    pod = story.only_pod()["metadata"]["name"]
    story.namespace.create("enginebuilds", engine_build("c"))
    story.namespace.set_pod_status(pod, {"phase": "Running"})
    story.until(
        lambda: (
            condition(
                (story.build("c") or {}).get("status", {}).get("targets", [{}])[0]
                and {"status": (story.build("c") or {})["status"]["targets"][0]},
                "Ready",
            ).get("reason")
            == "JoinedExistingBuild"
        )
    )
    story.namespace.delete(API, "enginebuilds", "b")
    story.ends(published())
    story.reaches("Ready", "AllTargetsPublished", "c")
    assert len(story.jobs()) == 1


def test_no_node_and_a_missing_claim_are_told(
    namespace: Any, start_operator: Callable[..., Any], until: Callable[..., Any]
) -> None:
    story = Story(namespace, until)
    start_operator()
    namespace.create("persistentvolumeclaims", claim("engines", "ReadWriteOnce"))
    namespace.create("enginebuilds", engine_build("b"))
    told = story.reaches("Reconciling", "ClaimNotFound")
    assert "claim models does not exist" in told["message"]
    assert condition(story.build(), "StoreNotShared")["status"] == "True"
    namespace.create("persistentvolumeclaims", claim("models"))
    message = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
    namespace.set_pod_status(
        story.only_pod()["metadata"]["name"],
        {
            "phase": "Pending",
            "conditions": [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": message,
                }
            ],
        },
    )
    told = story.reaches("Reconciling", "NoMatchingNode")
    assert told["message"] == f"cpu: no node takes a build for x86-64-v3 yet: {message}"
    story.ends(published())
    story.reaches("Ready", "AllTargetsPublished")


def test_suspend_and_a_changed_spec_replace_the_job(
    story: Story, start_operator: Callable[..., Any]
) -> None:
    start_operator()
    story.namespace.create("enginebuilds", engine_build("b"))
    first = story.until(story.jobs)[0]["metadata"]["name"]
    story.namespace.merge(API, "enginebuilds", "b", {"spec": {"suspend": True}})
    story.until(lambda: story.jobs() == [])
    story.reaches("Ready", "Suspended")
    patch = {"spec": {"suspend": False, "limits": {"maxBatchSize": 8}}}
    story.namespace.merge(API, "enginebuilds", "b", patch)
    second = story.until(story.jobs)[0]["metadata"]["name"]
    assert second != first


def test_the_standby_writes_nothing_and_takes_over(
    story: Story, start_operator: Callable[..., Any]
) -> None:
    leader = start_operator(POD_NAME="one")
    story.until(lambda: "is held by one" in leader.log.read_text())
    standby = start_operator(POD_NAME="two")
    story.until(lambda: "the cache is synced" in standby.log.read_text())
    story.namespace.create("enginebuilds", engine_build("b"))
    story.only_pod()
    assert "is held by two" not in standby.log.read_text()
    leader.kill()
    story.ends(published())
    story.reaches("Ready", "AllTargetsPublished")
    assert "is held by two" in standby.log.read_text()
    assert standby.stop() == 0
    lease = story.namespace.get("coordination.k8s.io/v1", "leases", "nacelle-operator")
    assert lease and lease["spec"]["holderIdentity"] == ""


def test_an_outage_of_the_api_server_is_outlived_or_restarted(
    story: Story, start_operator: Callable[..., Any]
) -> None:
    operator = start_operator()
    story.namespace.create("enginebuilds", engine_build("b"))
    pod = story.only_pod()["metadata"]["name"]
    plane = story.namespace.plane
    plane.kill("api")
    assert operator.process.wait(timeout=30) != 0
    plane.start_api_server()
    start_operator()
    story.namespace.set_pod_status(pod, ended(published()))
    story.reaches("Ready", "AllTargetsPublished")


def test_an_imported_engine_is_verified_by_a_job(
    story: Story, start_operator: Callable[..., Any]
) -> None:
    start_operator()
    for key in (KEY, "12" * 32):
        story.namespace.create("engines", imported_engine(key))
    pods = story.until(lambda: len(p := story.pods()) == 2 and p)
    for pod in pods:
        command = pod["spec"]["containers"][0]["command"]
        assert command[:2] == ["nacelle", "verify"] and "--result-file" in command
        sound = pod["metadata"]["name"].startswith(f"inspect-{KEY[:16]}")
        failure = {"code": "CorruptBundle", "message": "rank0/a is missing", "stage": "verify"}
        status = ended(published()) if sound else ended(json.dumps({"failure": failure}), 79)
        story.namespace.set_pod_status(pod["metadata"]["name"], status)
    story.until(lambda: ready_reason(story, KEY) == "Verified")
    story.until(lambda: ready_reason(story, "12" * 32) == "CorruptBundle")


def test_a_deployment_serves_the_engine_of_a_build(
    story: Story, start_operator: Callable[..., Any]
) -> None:
    start_operator(NACELLE_RUNTIME_IMAGES='{"torch2.11.0-triton3.6.0-ops6": "runtime:1"}')
    deployment = {
        "apiVersion": API,
        "kind": "InferenceDeployment",
        "metadata": {"name": "d"},
        "spec": {"engine": {"buildRef": {"name": "b", "target": "cpu"}}, "replicas": 1},
    }
    story.namespace.create("inferencedeployments", deployment)
    story.namespace.create("enginebuilds", engine_build("b"))
    story.ends(published())
    story.until(lambda: story.namespace.list("apps/v1", "deployments"))
    users = [{"kind": "EngineBuild", "name": "b"}, {"kind": "InferenceDeployment", "name": "d"}]
    engine = f"eng-{KEY[:16]}"
    story.until(
        lambda: story.namespace.get(API, "engines", engine)["status"].get("usedBy") == users
    )


def imported_engine(key: str) -> Manifest:
    return {
        "apiVersion": API,
        "kind": "Engine",
        "metadata": {"name": f"eng-{key[:16]}"},
        "spec": {
            "key": key,
            "modelName": "smollm2",
            "architecture": "x86-64-v3",
            "abi": "torch2.11.0-triton3.6.0-ops6",
            "limits": {},
            "store": {"persistentVolumeClaim": {"claimName": "engines"}},
            "path": f"engines/{key}",
            "digest": "cd" * 32,
            "bytes": 1234,
        },
    }


def ready_reason(story: Story, key: str) -> str | None:
    engine = story.namespace.get(API, "engines", f"eng-{key[:16]}")
    reason: str | None = condition(engine, "Ready").get("reason")
    return reason
