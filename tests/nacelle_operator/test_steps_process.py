"""A GPU's build in two Jobs on a real API server, whose Job controller the pods are told to."""

from collections.abc import Callable
from typing import Any

import pytest
from build_story import Story, claim, condition, ended, engine_build, published

from nacelle_engine.result import Prepared, Result

pytestmark = pytest.mark.slow
TARGET = {"name": "hopper", "architecture": "sm_90"}
PREPARED = Result(prepared=Prepared(until="convert")).message()


@pytest.fixture
def story(namespace: Any, until: Callable[..., Any]) -> Story:
    for name in ("models", "engines"):
        namespace.create("persistentvolumeclaims", claim(name))
    return Story(namespace, until)


def pod_of(story: Story, step: str) -> dict[str, Any]:
    def found() -> list[dict[str, Any]]:
        pods = story.pods()
        return [p for p in pods if p["metadata"]["labels"]["nacelle.dev/step"] == step]

    pod: dict[str, Any] = story.until(found)[0]
    return pod


def end(story: Story, step: str, message: str) -> None:
    name = pod_of(story, step)["metadata"]["name"]
    story.namespace.set_pod_status(name, ended(message))


def test_the_gpu_is_asked_for_by_the_second_job_alone(
    story: Story, start_operator: Callable[..., Any]
) -> None:
    operator = start_operator()
    story.namespace.create("enginebuilds", engine_build("b", targets=[TARGET]))
    (container,) = pod_of(story, "prepare")["spec"]["containers"]
    assert "limits" not in container["resources"]
    operator.kill()
    end(story, "prepare", PREPARED)
    start_operator()
    (container,) = pod_of(story, "build")["spec"]["containers"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    end(story, "build", published())
    story.reaches("Ready", "AllTargetsPublished")
    build = story.build()
    assert build and condition(build, "Stalled") == {}
    (target,) = build["status"]["targets"]
    assert [name.partition("-")[0] for name in target["jobs"]] == ["prepare", "build"]
    assert target["attempts"] == 2
    story.until(
        lambda: [j["spec"].get("ttlSecondsAfterFinished") for j in story.jobs()] == [3600, 3600]
    )
    story.namespace.delete("nacelle.dev/v1alpha1", "enginebuilds", "b")
    story.until(lambda: story.jobs() == [])


def test_a_changed_spec_between_the_two_begins_anew(
    story: Story, start_operator: Callable[..., Any]
) -> None:
    start_operator()
    story.namespace.create("enginebuilds", engine_build("b", targets=[TARGET]))
    end(story, "prepare", PREPARED)
    pod_of(story, "build")
    before = {job["metadata"]["name"] for job in story.jobs()}
    patch = {"spec": {"limits": {"maxBatchSize": 8}}}
    story.namespace.merge("nacelle.dev/v1alpha1", "enginebuilds", "b", patch)
    story.until(lambda: not before & {job["metadata"]["name"] for job in story.jobs()})
    (job,) = story.until(story.jobs)
    assert job["metadata"]["labels"]["nacelle.dev/step"] == "prepare"
