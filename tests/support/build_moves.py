"""What happens around builds, at random: pods that end, things that get lost, edits."""

from datetime import timedelta
from random import Random

from build_world import World, failure, prepared, published

BUILDS = ("b", "c")
SPECS = (
    {},
    {"limits": {"maxBatchSize": 8}},
    {"suspend": True},
    {"targets": [{"name": "gpu", "architecture": "sm_90"}]},
    {"targets": [{"name": "gpu", "architecture": "sm_90"}], "accuracy": {"samples": 8}},
    {"accuracy": {"samples": 8}},
    {"targets": [{"name": "x", "architecture": "x86-64-v4"},
                 {"name": "cpu", "architecture": "x86-64-v3"}]},
)  # fmt: skip


def active(world: World, job: str) -> bool:
    return not world.jobs[job].get("status")


def pod_of(world: World, job: str) -> str | None:
    found = [
        name
        for name, pod in world.pods.items()
        if name.startswith(job) and pod["status"]["phase"] == "Running"
    ]
    return found[0] if found else None


def result_of(world: World, job: str) -> str:
    """What a pod that does its work ends with."""
    labels = world.jobs[job]["metadata"]["labels"]
    if labels["nacelle.dev/step"] == "prepare":
        return prepared()
    # One engine a request: the label stands for it here.
    return published(labels["nacelle.dev/request-key"] * 2)


def move(world: World, random: Random) -> None:
    """One thing that happens outside the operator."""
    world.now += timedelta(seconds=random.choice((1, 20)))
    jobs = [job for job in world.jobs if active(world, job)]
    match random.choice(
        ("start", "publish", "publish", "fail", "starve", "lose", "edit", "delete", "drop")
    ):
        case "start" if jobs:
            job = random.choice(jobs)
            if pod_of(world, job) is None:
                world.start_pod(job)
        case "publish" if jobs:
            job = random.choice(jobs)
            if pod := pod_of(world, job):
                world.end_pod(pod, result_of(world, job))
                world.finish_job(job, "Complete")
        case "starve" if jobs:
            job = random.choice(jobs)
            if pod := pod_of(world, job):
                world.end_pod(pod, "", 137, "OOMKilled")
                world.finish_job(job, "Failed")
        case "fail" if jobs:
            job = random.choice(jobs)
            if pod := pod_of(world, job):
                world.end_pod(pod, failure("TensorMissing", "x is absent"), 65)
                world.finish_job(job, "Failed")
        case "lose" if world.pods:
            del world.pods[random.choice(list(world.pods))]
        case "drop" if world.jobs:
            world.delete_job(random.choice(list(world.jobs)))
        case "edit":
            world.write_build(random.choice(BUILDS), random.choice(SPECS))
        case "delete":
            world.builds.pop(random.choice(BUILDS), None)


def finish(world: World) -> None:
    """The cluster does its work from now on: every Job gets a pod and every pod publishes."""
    for job in list(world.jobs):
        if active(world, job):
            pod = pod_of(world, job) or world.start_pod(job)
            world.end_pod(pod, result_of(world, job))
            world.finish_job(job, "Complete")
