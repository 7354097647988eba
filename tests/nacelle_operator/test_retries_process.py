"""Attempts that fail, told to a real Job controller: what it and the operator make of them."""

from collections.abc import Callable
from typing import Any

import pytest
from build_story import Story, claim, condition, ended, engine_build, published

pytestmark = pytest.mark.slow


@pytest.fixture
def story(namespace: Any, until: Callable[..., Any]) -> Story:
    for name in ("models", "engines"):
        namespace.create("persistentvolumeclaims", claim(name))
    return Story(namespace, until)


def memory_of(pod: dict[str, Any]) -> str:
    return str(pod["spec"]["containers"][0]["resources"]["requests"]["memory"])


def test_an_attempt_that_ran_out_of_memory_gets_more_until_the_bound(
    story: Story, start_operator: Callable[..., Any]
) -> None:
    start_operator()
    target = {"name": "cpu", "architecture": "x86-64-v3", "maxMemory": "8Gi"}
    story.namespace.create("enginebuilds", engine_build("b", targets=[target]))
    for memory in ("4Gi", "8Gi"):
        pod = story.until(lambda m=memory: [p for p in story.pods() if memory_of(p) == m])[0]
        status = ended("", 137, "OOMKilled")
        story.namespace.set_pod_status(pod["metadata"]["name"], status)
    ready = story.reaches("Ready", "TargetsFailed")
    assert ready["message"].startswith("cpu: OutOfMemory: the container was killed (137)")
    assert "it had 8Gi, the most that targets[].maxMemory allows" in ready["message"]
    story.until(lambda: {"RetryingWithMoreMemory", "BuildFailed"} <= story.events())

    raised = {"targets": [{**target, "maxMemory": "16Gi"}]}
    story.namespace.merge("nacelle.dev/v1alpha1", "enginebuilds", "b", {"spec": raised})
    pod = story.until(
        lambda: [
            p for p in story.pods() if memory_of(p) == "8Gi" and p["status"]["phase"] == "Pending"
        ]
    )[0]
    story.namespace.set_pod_status(pod["metadata"]["name"], ended(published()))
    story.reaches("Ready", "AllTargetsPublished")


def test_a_disrupted_attempt_does_not_count_whatever_its_exit_code(
    story: Story, start_operator: Callable[..., Any]
) -> None:
    start_operator()
    story.namespace.create("enginebuilds", engine_build("b", job={"backoffLimit": 0}))
    job = story.until(story.jobs)[0]["metadata"]["uid"]
    seen: set[str] = set()
    for code, reason in ((137, "PreemptionByScheduler"), (143, "DeletionByPodGC")):
        pod = story.until(lambda: [p for p in story.pods() if p["metadata"]["name"] not in seen])[
            0
        ]["metadata"]["name"]
        seen.add(pod)
        disrupted = {"type": "DisruptionTarget", "status": "True", "reason": reason}
        story.namespace.set_pod_status(pod, {**ended("", code), "conditions": [disrupted]})
    third = story.until(lambda: [p for p in story.pods() if p["metadata"]["name"] not in seen])[0]
    assert memory_of(third) == "4Gi"
    story.until(lambda: "AttemptDisrupted" in story.events())
    story.namespace.set_pod_status(third["metadata"]["name"], ended(published()))
    story.reaches("Ready", "AllTargetsPublished")
    assert [each["metadata"]["uid"] for each in story.jobs()] == [job]
    assert condition(story.build(), "Stalled") == {}
