"""A GPU's build in two Jobs: what needs no GPU, then the rest; status and failures of both."""

from typing import Any

import pytest
from build_world import KEY, World, failure, prepared, published

from nacelle_engine.progress import Progress

HOPPER = {"name": "h", "architecture": "sm_90"}
HUB = {"huggingFace": {"repo": "o/m", "revision": "0" * 40}}


def begun(**changes: Any) -> tuple[World, str, str]:
    """A world whose build has made its first Job, and the names of both."""
    world = World()
    world.write_build("b", {"targets": [HOPPER], **changes})
    world.reconcile()
    first = world.only_job()
    return world, first, first.replace("prepare-", "build-")


def hands_over(world: World, job: str, message: str = "") -> None:
    world.end_pod(world.start_pod(job), message or prepared())
    world.finish_job(job, "Complete")
    world.reconcile()


def reason(world: World, name: str = "b") -> str:
    return str(world.target(name)["conditions"][0]["reason"])


def test_one_job_after_the_other_and_one_progress_over_both() -> None:
    world, prepare, build = begun()
    assert prepare.startswith("prepare-") and world.target()["jobs"] == [prepare]
    pod = world.start_pod(prepare)
    world.progress = {pod: Progress(stage="convert", percent=8, message="layer 30 of 30")}
    world.reconcile()
    world.end_pod(pod, prepared())
    world.finish_job(prepare, "Complete")
    world.progress = {}
    decided = world.reconcile()
    assert [made["metadata"]["name"] for made in decided.creates] == [build]
    assert world.target()["jobs"] == [prepare, build] and reason(world) == "JobCreated"
    assert (world.target()["stage"], world.target()["percent"]) == ("convert", 8)
    assert world.target()["message"] == f"Job {build} is created"
    pod = world.start_pod(build)
    world.progress = {pod: Progress(stage="compile", percent=40)}
    world.reconcile()
    assert (world.target()["stage"], world.target()["attempts"]) == ("compile", 2)
    world.end_pod(pod, published())
    world.finish_job(build, "Complete")
    world.reconcile()
    assert world.target()["engineRef"] == {"name": f"eng-{KEY[:16]}"}
    assert [p.name for p in world.reconcile().patches] == [prepare, build]
    assert world.events == ["BuildStarted", "BuildStarted", "StageDone", "EnginePublished"]
    assert world.plan().status == world.builds["b"]["status"]


def test_an_engine_that_exists_is_found_without_a_gpu() -> None:
    world, prepare, build = begun()
    hands_over(world, prepare, published())
    assert reason(world) == "EnginePublished" and build not in world.jobs


def test_a_result_that_is_lost_is_no_matter() -> None:
    world, prepare, build = begun()
    world.finish_job(prepare, "Complete")
    world.reconcile()
    assert build in world.jobs


@pytest.mark.parametrize("at", ["prepare", "build"])
def test_either_may_fail_for_good_and_is_tried_again_when_the_spec_changes(at: str) -> None:
    world, prepare, build = begun()
    if at == "build":
        hands_over(world, prepare)
    job = {"prepare": prepare, "build": build}[at]
    world.end_pod(world.start_pod(job), failure("UnsupportedModel", "family x is not known"), 65)
    world.finish_job(job, "Failed")
    world.reconcile()
    ready = world.condition("Ready")
    assert ready and ready["message"] == "h: UnsupportedModel: family x is not known"
    assert world.condition("Stalled") and not world.reconcile().creates
    world.write_build("b", {"targets": [HOPPER], "job": {"backoffLimit": 1}})
    assert [d.name for d in world.reconcile().deletes] == [job]
    assert [m["metadata"]["name"] for m in world.reconcile().creates] == [job]


@pytest.mark.parametrize("at", ["prepare", "build"])
def test_each_has_its_own_memory(at: str) -> None:
    world, prepare, build = begun()
    if at == "build":
        hands_over(world, prepare)
    job, more = {"prepare": (prepare, "16Gi"), "build": (build, "64Gi")}[at]
    world.end_pod(world.start_pod(job), "", 137, "OOMKilled")
    world.finish_job(job, "Failed")
    for _ in range(3):
        world.reconcile()
    assert world.target()["memory"] == {job: more}
    (container,) = world.jobs[job]["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"]["memory"] == more
    if at == "prepare":
        hands_over(world, prepare)
        (container,) = world.jobs[build]["spec"]["template"]["spec"]["containers"]
        assert container["resources"]["requests"]["memory"] == "32Gi"


@pytest.mark.parametrize("after", [False, True], ids=["at its first", "at its second"])
def test_a_changed_spec_replaces_both(after: bool) -> None:
    world, prepare, build = begun()
    if after:
        hands_over(world, prepare)
    world.write_build("b", {"targets": [HOPPER], "limits": {"maxBatchSize": 8}})
    decided = world.reconcile()
    assert {d.name for d in decided.deletes} == ({prepare, build} if after else {prepare})
    (created,) = decided.creates
    assert created["metadata"]["name"].startswith("prepare-")
    world.write_build("b", {"targets": [HOPPER], "suspend": True})
    world.reconcile()
    assert world.jobs == {}


def test_an_edit_of_another_target_leaves_both_alone() -> None:
    world, prepare, build = begun()
    hands_over(world, prepare)
    uids = {name: job["metadata"]["uid"] for name, job in world.jobs.items()}
    cpu = {"name": "cpu", "architecture": "x86-64-v3"}
    world.write_build("b", {"targets": [HOPPER, cpu]})
    decided = world.reconcile()
    assert not decided.deletes and len(decided.creates) == 1
    assert {name: world.jobs[name]["metadata"]["uid"] for name in uids} == uids


def test_a_joined_build_follows_both_and_keeps_them() -> None:
    world, prepare, build = begun()
    world.write_build("c", {"targets": [HOPPER]})
    world.start_pod(prepare)
    assert not world.reconcile("c").creates and reason(world, "c") == "JoinedExistingBuild"
    pod = next(iter(world.pods))
    world.end_pod(pod, prepared())
    world.finish_job(prepare, "Complete")
    world.reconcile("c")
    world.reconcile("b")
    assert world.target("c")["jobs"] == world.target("b")["jobs"] == [prepare, build]
    del world.builds["b"]
    assert not world.reconcile("c").deletes
    world.end_pod(world.start_pod(build), published())
    world.finish_job(build, "Complete")
    world.reconcile("c")
    assert reason(world, "c") == "EnginePublished"
    del world.builds["c"]
    assert {d.name for d in world.plan("c").deletes} == {prepare, build}


def test_other_bounds_wait_also_between_the_two() -> None:
    world, prepare, build = begun(model=HUB)
    strict = {"targets": [HOPPER], "model": HUB, "accuracy": {"samples": 8}}
    world.write_build("c", strict)
    world.reconcile("c")
    assert reason(world, "c") == "JoinedExistingBuild"
    world.end_pod(world.start_pod(prepare), prepared())
    world.finish_job(prepare, "Complete")
    assert not world.reconcile("c").creates and reason(world, "c") == "JoinedExistingBuild"
    world.reconcile("b")
    assert not world.reconcile("c").creates
    world.end_pod(world.start_pod(build), failure("CompileFailed", "no tile fits"), 65)
    world.finish_job(build, "Failed")
    world.reconcile("b")
    (created,) = world.reconcile("c").creates
    assert created["metadata"]["name"].startswith("prepare-")


def test_a_job_of_an_older_operator_goes_on_without_a_first() -> None:
    world, prepare, build = begun()
    old = world.jobs.pop(prepare)
    old["metadata"]["name"] = build
    world.jobs[build] = old
    world.start_pod(build)
    assert not world.reconcile().creates and reason(world) == "BuildRunning"


def test_a_build_by_tensorrt_asks_for_it_on_a_gpu_node() -> None:
    world, prepare, job = begun(backend="tensorrt")
    hands_over(world, prepare)
    pod = world.jobs[job]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert '"backend":"tensorrt"' in str(container["env"])
    terms = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert "nvidia.com/gpu.compute.major" in str(terms)
    status = world.builds["b"]["status"]
    native, *_ = begun()
    abi = native.builds["b"]["status"]["toolchain"]["abi"]
    assert status["toolchain"]["abi"] == f"{abi}-tensorrt10.6.0"
    kinds = {condition["type"] for condition in status["conditions"]}
    assert "ToolchainOutdated" not in kinds
