"""The build's plan: a table of situations with exact reasons and messages, and its transitions."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from build_world import ACCURACY, KEY, World, failure, published

from nacelle_engine.progress import Progress
from nacelle_engine.recipe import Toolchain
from nacelle_operator.build.observed import Claim
from nacelle_operator.kinds import ENGINE, JOB
from nacelle_operator.objects import names

ENGINE_NAME = f"eng-{KEY[:16]}"
HUB = {"huggingFace": {"repo": "o/m", "revision": "0" * 40}}


def begun(changes: dict[str, Any] | None = None) -> tuple[World, str]:
    """A world with one build whose Job has just been created."""
    world = World()
    world.write_build("b", changes)
    world.reconcile()
    return world, world.only_job()


def unscheduled(world: World, job: str, message: str) -> None:
    pod = world.start_pod(job, "Pending")
    condition = {"type": "PodScheduled", "status": "False", "message": message}
    world.pods[pod]["status"]["conditions"] = [condition]


def waiting(world: World, job: str, reason: str, message: str) -> None:
    pod = world.start_pod(job, "Pending")
    state = {"waiting": {"reason": reason, "message": message}}
    world.pods[pod]["status"]["containerStatuses"] = [{"name": "builder", "state": state}]


def failed_once(world: World, job: str) -> None:
    world.end_pod(world.start_pod(job), failure("StoreUnavailable", "disk full"), 75)


def killed(world: World, job: str) -> None:
    world.jobs[job]["metadata"]["annotations"]["nacelle.dev/max-memory"] = "4Gi"
    world.end_pod(world.start_pod(job), "", 137, "OOMKilled")
    world.finish_job(job, "Failed")


def timed_out(world: World, job: str) -> None:
    pod = world.start_pod(job)
    world.pods[pod]["status"] = {"phase": "Failed", "reason": "DeadlineExceeded"}
    world.finish_job(job, "Failed")


def fails_for_good(world: World, job: str) -> None:
    world.end_pod(world.start_pod(job), failure("UnsupportedModel", "family x is not known"), 65)
    world.finish_job(job, "Failed")


def crashed(world: World, job: str) -> None:
    world.end_pod(world.start_pod(job), "Segmentation fault", 139)
    world.finish_job(job, "Failed")


def no_claim(world: World, job: str) -> None:
    world.claims = {"models": Claim("models", False), "engines": Claim("engines", False)}
    unscheduled(world, job, "x")


def suspended_by_kueue(world: World, job: str) -> None:
    world.jobs[job]["spec"]["suspend"] = True
    world.jobs[job]["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "gpus"


NODES = "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."
SITUATIONS: dict[str, tuple[Callable[[World, str], object], str, str]] = {
    "no pod yet": (lambda w, j: None, "JobCreated", "the Job has no pod yet"),
    "no node": (
        lambda w, j: unscheduled(w, j, NODES),
        "NoMatchingNode",
        f"no node takes a build for x86-64-v3 yet: {NODES}",
    ),
    "a full node": (
        lambda w, j: unscheduled(w, j, "0/1 nodes are available: 1 Insufficient memory."),
        "NoRoomOnNodes",
        "0/1 nodes are available: 1 Insufficient memory.",
    ),
    "claims missing": (
        no_claim,
        "ClaimNotFound",
        "claims models and engines do not exist in namespace ns: "
        "create what is missing, and the build goes on",
    ),
    "a claim without a volume": (
        lambda w, j: unscheduled(w, j, "pod has unbound immediate PersistentVolumeClaims"),
        "ClaimNotBound",
        "pod has unbound immediate PersistentVolumeClaims",
    ),
    "an image that is not there": (
        lambda w, j: waiting(w, j, "ImagePullBackOff", "not found"),
        "ImageNotPulled",
        "ImagePullBackOff: not found",
    ),
    "a secret that is not there": (
        lambda w, j: waiting(w, j, "CreateContainerConfigError", 'secret "t" not found'),
        "ContainerNotCreated",
        'CreateContainerConfigError: secret "t" not found',
    ),
    "a pod that starts": (
        lambda w, j: waiting(w, j, "ContainerCreating", ""),
        "PodStarting",
        "the pod starts",
    ),
    "a pod at work": (lambda w, j: w.start_pod(j), "BuildRunning", "the builder starts"),
    "a pod that has ended well": (
        lambda w, j: w.end_pod(w.start_pod(j), ""),
        "BuildRunning",
        "the builder starts",
    ),
    "a failed attempt": (
        failed_once,
        "RetryingAttempt",
        "attempt 1 failed, another follows: StoreUnavailable: disk full",
    ),
    "Kueue": (suspended_by_kueue, "Queued", "queue gpus has not admitted the Job yet"),
    "a permanent failure": (fails_for_good, "UnsupportedModel", "family x is not known"),
    "killed for its memory": (
        killed,
        "OutOfMemory",
        "the container was killed (137), by the kernel for its memory in most cases: it had 4Gi, "
        "the most that targets[].maxMemory allows: raise it, or lower spec.limits",
    ),
    "too long an attempt": (
        timed_out,
        "AttemptTimeout",
        "the attempt ran longer than job.attemptTimeout",
    ),
    "a crash": (
        crashed,
        "BuildCrashed",
        "the builder ended without a result: exit code 139",
    ),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_what_a_target_says(name: str) -> None:
    arrange, reason, message = SITUATIONS[name]
    world, job = begun()
    arrange(world, job)
    world.reconcile()
    ready = world.target()["conditions"][0]
    assert (ready["type"], ready["status"]) == ("Ready", "False")
    assert (ready["reason"], ready["message"]) == (reason, message)


@pytest.mark.parametrize("name", SITUATIONS)
def test_stalled_only_when_nothing_runs_any_more(name: str) -> None:
    arrange, reason, message = SITUATIONS[name]
    world, job = begun()
    arrange(world, job)
    world.reconcile()
    failed = arrange in (fails_for_good, killed, timed_out, crashed)
    assert (world.condition("Stalled") is not None) is failed
    assert (world.condition("Reconciling") is not None) is not failed
    ready = world.condition("Ready")
    expected = ("TargetsFailed", f"cpu: {reason}: {message}")
    if not failed:
        expected = ("Building", "0 of 1 engines are published")
    assert ready and (ready["reason"], ready["message"]) == expected


def publish(world: World, job: str, key: str = KEY) -> None:
    world.end_pod(world.start_pod(job), published(key))
    world.finish_job(job, "Complete")


def test_publishing_records_the_engine_then_ends_the_jobs_life() -> None:
    world, job = begun({"deletionPolicy": "Delete"})
    publish(world, job)
    first = world.reconcile()
    assert [manifest["kind"] for manifest in first.creates] == ["Engine"] and not first.patches
    assert world.engines[ENGINE_NAME]["spec"]["path"] == f"engines/{KEY}"
    ready = world.condition("Ready")
    assert ready and ready["reason"] == "AllTargetsPublished"
    assert ready["message"] == "1 of 1 engines are published"
    assert world.target()["engineRef"] == {"name": ENGINE_NAME}
    second = world.reconcile()
    assert [(p.kind, p.fields) for p in second.patches] == [
        (JOB.name, {"spec": {"ttlSecondsAfterFinished": 3600}})
    ]
    assert world.plan().status == world.builds["b"]["status"]
    assert world.events == ["BuildStarted", "EnginePublished"]
    assert world.target()["timings"] == [{"stage": "convert", "seconds": 1}]


def test_a_status_that_was_not_written_is_found_again() -> None:
    world, job = begun()
    publish(world, job)
    world.carry_out("b", world.plan(), status=False)
    world.reconcile()
    assert world.target()["engineRef"] == {"name": ENGINE_NAME} and len(world.engines) == 1


def test_the_result_of_a_complete_job_without_pods_is_lost_then_given_up() -> None:
    world, job = begun()
    world.finish_job(job, "Complete")
    for _ in range(6):
        assert [d.name for d in world.reconcile().deletes] == [job]
        assert world.target()["conditions"][0]["reason"] == "RetryingAttempt"
        world.reconcile()
        world.finish_job(job, "Complete")
    assert not world.reconcile().deletes
    assert world.target()["conditions"][0]["reason"] == "ResultLost"


def test_a_request_of_immutable_content_that_is_published_runs_no_job() -> None:
    world, job = begun({"model": HUB})
    publish(world, job)
    world.reconcile()
    world.write_build("c", {"model": HUB})
    assert not world.reconcile("c").creates
    assert world.target("c")["conditions"][0]["reason"] == "AlreadyPublished"


@pytest.mark.parametrize(
    "changes",
    [
        {"model": HUB, "store": {"persistentVolumeClaim": {"claimName": "others"}}},
        {"model": HUB, "limits": {"maxBatchSize": 8}},
        {"model": {"huggingFace": {"repo": "o/m", "revision": "1" * 40}}},
    ],
)
def test_another_store_recipe_or_revision_is_another_job(changes: dict[str, Any]) -> None:
    world, job = begun({"model": HUB})
    publish(world, job)
    world.reconcile()
    world.write_build("c", changes)
    (created,) = world.reconcile("c").creates
    assert created["kind"] == "Job" and created["metadata"]["name"] != job


def test_a_folder_without_a_digest_is_always_read() -> None:
    world, job = begun()
    publish(world, job)
    world.reconcile()
    world.delete_job(job)
    world.write_build("c")
    assert [manifest["kind"] for manifest in world.reconcile("c").creates] == ["Job"]


def test_texts_that_only_have_a_name_are_always_read() -> None:
    claim = {"persistentVolumeClaim": {"claimName": "c", "path": "m", "digest": "0" * 64}}
    quantization = {"algorithm": "FP8", "calibration": {"path": "a.txt"}}
    world, job = begun({"model": claim, "quantization": quantization})
    publish(world, job)
    world.reconcile()
    world.delete_job(job)
    world.write_build("c", {"model": claim, "quantization": quantization})
    assert [manifest["kind"] for manifest in world.reconcile("c").creates] == ["Job"]


def test_a_second_build_joins_and_keeps_the_job_when_the_first_goes() -> None:
    world, job = begun()
    world.write_build("c")
    world.start_pod(job)
    assert not world.reconcile("c").creates
    ready = world.target("c")["conditions"][0]
    assert ready["reason"] == "JoinedExistingBuild"
    assert ready["message"] == "build b makes the same engine: the builder starts"
    del world.builds["b"]
    assert not world.plan("b").deletes
    del world.builds["c"]
    assert [d.name for d in world.plan("c").deletes] == [job]


def test_other_bounds_wait_for_the_running_job_then_are_judged_on_its_figures() -> None:
    world, job = begun({"model": HUB})
    world.write_build("c", {"model": HUB, "accuracy": {"minTopOneAgreementPercent": 99}})
    assert not world.reconcile("c").creates
    assert world.target("c")["conditions"][0]["reason"] == "JoinedExistingBuild"
    publish(world, job)
    world.reconcile("b")
    world.reconcile("c")
    ready = world.condition("Ready", "c")
    assert ready and ready["message"] == (
        f"cpu: AccuracyFailed: {ENGINE_NAME} exists, but top-1 agreement is 95.5 %, "
        "minTopOneAgreementPercent is 99"
    )


@pytest.mark.parametrize("figure", ["nan", "inf", "-nan", "much"])
def test_figures_that_are_no_numbers_are_published_where_the_spec_says_so(figure: str) -> None:
    """A model that gives NaN at a position is measured as that; it breaks the bounds, no more."""
    changes = {"model": HUB, "accuracy": {"onFailure": "Publish"}}
    world, job = begun(changes)
    measured = ACCURACY.model_copy(
        update={"mean_kl_divergence": figure, "perplexity_increase_percent": figure}
    )
    world.end_pod(world.start_pod(job), published(accuracy=measured))
    world.finish_job(job, "Complete")
    world.reconcile()
    world.reconcile()
    ready = world.condition("Ready")
    assert ready and ready["reason"] == "AllTargetsPublished"
    assert world.jobs[job]["spec"]["ttlSecondsAfterFinished"] == 3600
    world.write_build("c", {"model": HUB})
    world.reconcile("c")
    ready = world.condition("Ready", "c")
    assert ready and ready["message"] == (
        f"cpu: AccuracyFailed: {ENGINE_NAME} exists, but mean KL divergence is {figure}, "
        f"maxKLDivergence is 0.05; perplexity increase is {figure} %, "
        "maxPerplexityIncreasePercent is 5"
    )


def test_what_a_person_has_annotated_is_not_judged() -> None:
    world, job = begun({"model": HUB})
    publish(world, job)
    world.reconcile()
    world.engines[ENGINE_NAME]["metadata"]["annotations"] = {names.ACCURACY: "good"}
    world.reconcile()
    ready = world.condition("Ready")
    assert ready and ready["reason"] == "AllTargetsPublished"


def test_a_failure_stays_until_the_spec_changes() -> None:
    world, job = begun()
    fails_for_good(world, job)
    world.reconcile()
    world.reconcile()
    assert world.jobs[job]["spec"]["ttlSecondsAfterFinished"] == 3600
    world.delete_job(job)
    assert not world.reconcile().creates
    assert world.target()["conditions"][0]["reason"] == "UnsupportedModel"
    world.write_build("b", {"job": {"backoffLimit": 1}})
    assert [m["kind"] for m in world.reconcile().creates] == ["Job"]


def test_a_changed_spec_replaces_the_job_and_suspension_ends_it() -> None:
    world, job = begun()
    world.write_build("b", {"limits": {"maxBatchSize": 8}})
    changed = world.reconcile()
    assert [d.name for d in changed.deletes] == [job] and len(changed.creates) == 1
    world.write_build("b", {"suspend": True})
    assert [d.name for d in world.reconcile().deletes] == [changed.creates[0]["metadata"]["name"]]
    ready = world.condition("Ready")
    assert ready and ready["reason"] == "Suspended" and world.condition("Reconciling") is None


def test_no_node_for_longer_than_the_scheduling_timeout() -> None:
    world, job = begun({"job": {"schedulingTimeout": "1m"}})
    unscheduled(world, job, NODES)
    assert (world.reconcile().requeue_seconds or 0) <= 60
    world.now += timedelta(seconds=61)
    assert [d.name for d in world.reconcile().deletes] == [job]
    assert world.target()["conditions"][0]["reason"] == "SchedulingTimeout"


def test_progress_reaches_the_status_and_never_goes_back() -> None:
    world, job = begun()
    pod = world.start_pod(job)
    world.progress = {pod: Progress(stage="convert", percent=20, message="layer 3 of 30")}
    assert world.reconcile().requeue_seconds == 5.0
    assert (world.target()["stage"], world.target()["percent"]) == ("convert", 20)
    world.progress = {}
    world.reconcile()
    assert (world.target()["stage"], world.target()["message"]) == ("convert", "layer 3 of 30")
    world.progress = {pod: Progress(stage="compile", percent=60)}
    world.reconcile()
    assert world.events[-1] == "StageDone" and world.builds["b"]["status"]["progressPercent"] == 60
    world.end_pod(pod, "")
    world.progress = {}
    world.reconcile()
    assert (world.target()["stage"], world.target()["percent"]) == ("compile", 60)
    world.jobs[job]["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    world.reconcile()
    assert (world.target()["conditions"][0]["reason"], world.target()["percent"]) == (
        "JobEnding",
        60,
    )


def test_one_failing_target_does_not_stop_the_others() -> None:
    targets = [
        {"name": "a", "architecture": "x86-64-v3"},
        {"name": "b", "architecture": "x86-64-v4"},
    ]
    world = World()
    world.write_build("b", {"targets": targets})
    first, second = (m["metadata"]["name"] for m in world.reconcile().creates)
    fails_for_good(world, first)
    world.reconcile()
    assert world.condition("Stalled") is None and world.condition("Reconciling")
    publish(world, second)
    world.reconcile()
    stalled, ready = world.condition("Stalled"), world.condition("Ready")
    assert stalled and ready and ready["reason"] == "TargetsFailed"
    assert world.target("b", 1)["engineRef"] == {"name": ENGINE_NAME}


def test_a_newer_builder_rebuilds_nothing_by_itself() -> None:
    world, job = begun()
    world.toolchain = Toolchain(builder_image="builder:2")
    later = world.reconcile()
    assert not later.creates and not later.deletes
    outdated = world.condition("ToolchainOutdated")
    assert outdated and outdated["message"].startswith("pinned to builder:1")
    world.write_build("b", {"limits": {"maxBatchSize": 8}})
    (created,) = world.reconcile().creates
    pod = created["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "builder:2"
    assert world.condition("ToolchainOutdated") is None


def test_a_store_on_one_node_is_told_and_a_changed_policy_reaches_the_engine() -> None:
    world, job = begun()
    world.claims = {"engines": Claim("engines", True, ("ReadWriteOnce",))}
    publish(world, job)
    world.reconcile()
    told = world.condition("StoreNotShared")
    assert told and told["message"].startswith("claim engines is ReadWriteOnce:")
    world.write_build("b", {"deletionPolicy": "Delete"})
    patches = world.reconcile().patches
    assert (ENGINE.name, {"spec": {"deletionPolicy": "Delete"}}) in [
        (patch.kind, patch.fields) for patch in patches
    ]
