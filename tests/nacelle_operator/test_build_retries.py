"""Attempts that fail by memory get more of it, up to a bound; those that are disrupted go on."""

from datetime import timedelta
from typing import Any

import pytest
from build_world import World, failure, published

from nacelle_operator.conditions import timestamp

KILLED = (
    "the container was killed (137), by the kernel for its memory in most cases: it had 8Gi, "
    "the most that targets[].maxMemory allows: raise it, or lower spec.limits"
)


def begun(**target: Any) -> tuple[World, str]:
    world = World()
    targets = [{"name": "cpu", "architecture": "x86-64-v3", **target}]
    world.write_build("b", {"targets": targets})
    world.reconcile()
    return world, world.only_job()


def runs_out(world: World, job: str, code: int = 137) -> None:
    said = failure("OutOfMemory", "the build ran out of memory: 9 GB") if code == 71 else ""
    world.end_pod(world.start_pod(job), said, code)
    world.finish_job(job, "Failed")


def memory_of(world: World, job: str) -> str:
    (container,) = world.jobs[job]["spec"]["template"]["spec"]["containers"]
    return str(container["resources"]["requests"]["memory"])


@pytest.mark.parametrize("code", [137, 71])
def test_twice_the_memory_up_to_the_bound(code: int) -> None:
    world, job = begun(maxMemory="8Gi")
    assert memory_of(world, job) == "4Gi"
    runs_out(world, job, code)
    remembered = world.reconcile()
    assert not remembered.deletes and world.target()["memory"] == {job: "8Gi"}
    assert (world.target()["conditions"][0]["reason"], world.target()["message"]) == (
        "RetryingWithMoreMemory",
        "an attempt ran out of its 4Gi of memory: it is run again with 8Gi",
    )
    assert world.events[-1] == "RetryingWithMoreMemory"
    assert [d.name for d in world.reconcile().deletes] == [job]
    world.reconcile()
    assert memory_of(world, job) == "8Gi"
    runs_out(world, job)
    world.reconcile()
    ready = world.condition("Ready")
    assert ready and ready["message"] == f"cpu: OutOfMemory: {KILLED}"
    assert world.condition("Stalled") and world.target()["attempts"] == 2
    assert not world.plan().deletes and not world.plan().creates


def test_the_bound_is_four_times_the_first_unless_it_is_stated() -> None:
    world, job = begun()
    for memory in ("4Gi", "8Gi", "16Gi"):
        assert memory_of(world, job) == memory
        runs_out(world, job)
        for _ in range(3):
            world.reconcile()
    assert world.target()["conditions"][0]["reason"] == "OutOfMemory"


def test_a_raised_bound_is_tried() -> None:
    world, job = begun(maxMemory="4Gi")
    runs_out(world, job)
    world.reconcile()
    assert world.target()["conditions"][0]["reason"] == "OutOfMemory"
    targets = [{"name": "cpu", "architecture": "x86-64-v3", "maxMemory": "8Gi"}]
    world.write_build("b", {"targets": targets})
    assert [d.name for d in world.reconcile().deletes] == [job]
    world.reconcile()
    assert memory_of(world, job) == "4Gi"
    runs_out(world, job)
    for _ in range(3):
        world.reconcile()
    assert memory_of(world, job) == "8Gi"
    world.end_pod(world.start_pod(job), published())
    world.finish_job(job, "Complete")
    world.reconcile()
    assert world.target()["conditions"][0]["reason"] == "EnginePublished"


def test_killed_before_the_status_was_written_it_forgets_nothing() -> None:
    world, job = begun()
    runs_out(world, job)
    world.carry_out("b", world.plan(), status=False)
    assert world.only_job() == job
    world.reconcile()
    world.carry_out("b", world.plan(), status=False)
    world.reconcile()
    assert memory_of(world, job) == "8Gi"


def test_a_build_that_joined_waits_for_the_one_that_began_and_knows_as_much() -> None:
    world, job = begun()
    world.write_build("c")
    runs_out(world, job)
    for _ in range(2):
        assert not world.reconcile("c").deletes
    assert world.target("c")["memory"] == {job: "8Gi"}
    del world.builds["b"]
    assert [d.name for d in world.reconcile("c").deletes] == [job]
    world.reconcile("c")
    assert memory_of(world, job) == "8Gi"


def test_a_gpus_memory_is_no_matter_of_the_hosts() -> None:
    world, job = begun()
    message = "the build ran out of memory: CUDA out of memory"
    world.end_pod(world.start_pod(job), failure("GpuOutOfMemory", message), 71)
    world.finish_job(job, "Failed")
    world.reconcile()
    ready = world.condition("Ready")
    assert ready and ready["message"] == f"cpu: GpuOutOfMemory: {message}"
    assert "memory" not in world.target() or world.target()["memory"] == {}


def disrupt(world: World, pod: str, reason: str, message: str) -> None:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    world.pods[pod]["status"]["conditions"] = [condition]


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("PreemptionByScheduler", "default-scheduler: preempting to accommodate a higher priority"),
        ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"),
        ("EvictionByEvictionAPI", "Eviction API: evicting"),
        ("DeletionByPodGC", "PodGC: node no longer exists"),
        ("TerminationByKubelet", "The node was low on resource: memory."),
    ],
)
def test_a_disrupted_attempt_is_followed_by_another(reason: str, message: str) -> None:
    world, job = begun()
    pod = world.start_pod(job)
    world.end_pod(pod, "", 137, "OOMKilled" if reason == "EvictionByEvictionAPI" else "Error")
    disrupt(world, pod, reason, message)
    world.reconcile()
    ready = world.target()["conditions"][0]
    assert (ready["reason"], ready["message"]) == (
        "AttemptDisrupted",
        f"an attempt was ended ({reason}: {message}): another goes on from its last stage",
    )
    assert world.events[-1] == "AttemptDisrupted" and world.condition("Stalled") is None
    world.start_pod(job)
    world.reconcile()
    assert world.target()["conditions"][0]["reason"] == "BuildRunning"
    assert world.target()["attempts"] == 2


def test_a_failure_is_not_hidden_by_a_later_disruption() -> None:
    world, job = begun()
    world.end_pod(world.start_pod(job), failure("StoreUnavailable", "disk full"), 75)
    pod = world.start_pod(job)
    world.end_pod(pod, "", 137)
    disrupt(world, pod, "PreemptionByScheduler", "x")
    world.finish_job(job, "Failed")
    world.reconcile()
    assert world.target()["conditions"][0]["reason"] == "StoreUnavailable"


def test_a_node_that_does_not_answer_is_told_and_what_to_do() -> None:
    world, job = begun()
    pod = world.start_pod(job)
    world.pods[pod]["metadata"]["deletionTimestamp"] = timestamp(world.now)
    decided = world.reconcile()
    assert world.target()["message"] == f"pod {pod} is ended on node node-1: another follows"
    assert decided.requeue_seconds == 30.0
    world.now += timedelta(seconds=30)
    assert world.reconcile().requeue_seconds is None
    ready = world.target()["conditions"][0]
    assert (ready["reason"], ready["message"]) == (
        "NodeLost",
        f"node node-1 does not say that pod {pod} has ended, and no other may begin before: "
        "repair the node; or delete it, or the pod with --force, once nothing runs there",
    )
    assert world.events[-1] == "NodeLost"


@pytest.mark.parametrize("code", [137, 71])
def test_a_builder_that_was_killed_and_deleted_is_run_again(code: int) -> None:
    world, job = begun()
    pod = world.start_pod(job)
    world.reconcile()
    del world.pods[pod]
    said = f"Container builder for pod ns/p failed with exit code {code} matching FailJob rule at"
    world.finish_job(job, "Failed", f"{said} index 1")
    assert [d.name for d in world.reconcile().deletes] == [job]
    world.reconcile()
    assert list(world.jobs) == [job] and "status" not in world.jobs[job]
    world.end_pod(world.start_pod(job), published())
    world.finish_job(job, "Complete")
    world.reconcile()
    assert world.target()["attempts"] == 2 and world.target()["engineRef"]
