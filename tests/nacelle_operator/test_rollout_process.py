"""Rollouts by the operator as a process: real Deployments and Services, pods told to run."""

from typing import Any

import pytest
from pod_server import outside_address, pod_server, says
from rollout_story import (
    SECOND,
    WAITS,
    begin,
    by_slot,
    edit_rollout,
    ready,
    rolled,
    run_all,
    selected,
)
from serving_story import API, IMAGES, Story, engine, running, serve

from nacelle_engine.errors import TargetMismatch
from nacelle_engine.result import Failure, Result
from nacelle_runtime.metrics import exposition
from nacelle_runtime.wire import Histogram, Ready, Stats

pytestmark = pytest.mark.slow


def test_blue_green_switches_when_all_new_pods_are_ready(story: Story, start_operator: Any) -> None:
    green = {"scaleDownDelay": "3s"}
    begin(story, start_operator, 2, strategy="BlueGreen", blueGreen=green)
    story.until(lambda: by_slot(story.pods()) == {"a": 2, "b": 2})
    one = next(
        n for n, p in story.pods().items() if p["metadata"]["labels"]["nacelle.dev/slot"] == "b"
    )
    story.namespace.set_pod_status(one, running(True))
    story.until(lambda: "1 of 2 pods of revision 2 are ready" in ready(story)["message"])
    assert selected(story) == "a"
    run_all(story)
    story.until(lambda: selected(story) == "b")
    story.until(lambda: by_slot(story.pods()) == {"b": 2})
    status = story.reaches("Serving")["status"]
    assert status["currentEngine"] == SECOND["engineRef"]["name"]
    assert [r["outcome"] for r in status["rollout"]["history"]] == ["Serving", "Replaced"]
    deployments = {d["metadata"]["name"] for d in story.namespace.list("apps/v1", "deployments")}
    assert deployments == {"chat-b"}


def test_a_canary_by_numbers_waits_and_goes_on(story: Story, start_operator: Any) -> None:
    begin(story, start_operator, 3, **WAITS)
    rolled(story, a=2, b=1)
    story.reaches("WaitingForPromotion")
    assert selected(story) is None
    edit_rollout(story, promote="2")
    rolled(story, b=3)
    story.reaches("Serving")
    assert selected(story) == "b"


def test_a_canary_of_a_refused_bundle_is_taken_back(story: Story, start_operator: Any) -> None:
    begin(story, start_operator, 3, **WAITS)
    old = {n for n, p in story.pods().items() if p["metadata"]["labels"]["nacelle.dev/slot"] == "a"}
    (new,) = story.until(lambda: (p := story.pods().keys() - old) and p)
    message = Result(failure=Failure(code="TargetMismatch", message="no avx512f here")).message()
    end = {"exitCode": TargetMismatch.exit_code, "reason": "Error", "message": message}
    story.namespace.set_pod_status(new, running(False, terminated=end))
    status = story.reaches("BundleRefused")["status"]
    story.until(lambda: story.pods().keys() == old)
    assert selected(story) == "a"
    assert status["currentEngine"] != SECOND["engineRef"]["name"]
    conditions = {c["type"]: c for c in status["conditions"]}
    assert conditions["Available"]["status"] == "True"
    assert conditions["Stalled"]["message"] == (
        f"revision 2 with Engine eng-{'2' * 16} failed, and revision 1 with Engine eng-{'1' * 16} "
        "serves on; change the spec or the engine, and it is tried again: "
        f"pod {new}: TargetMismatch: no avx512f here"
    )
    story.edit(engine={"engineRef": {"name": "eng-" + "1" * 16}})
    story.reaches("Serving")
    assert story.pods().keys() == old


def test_a_killed_operator_goes_on_with_the_step_it_was_at(
    story: Story, start_operator: Any
) -> None:
    operator = begin(story, start_operator, 3, **WAITS)
    rolled(story, a=2, b=1)
    story.reaches("WaitingForPromotion")
    before = story.pods().keys()
    operator.kill()
    # Status is a report: losing it loses nothing.
    path = story.namespace.path(API, "inferencedeployments", "chat") + "/status"
    story.namespace.plane.call(
        "PATCH", path, {"status": {"rollout": None}}, "application/merge-patch+json"
    )
    start_operator(NACELLE_RUNTIME_IMAGES=IMAGES)
    story.until(
        lambda: story.namespace.get(API, "inferencedeployments", "chat")["status"].get("rollout")
    )
    story.reaches("WaitingForPromotion")
    assert story.pods().keys() == before
    edit_rollout(story, promote="2/1")
    rolled(story, b=3)
    story.reaches("Serving")


def test_a_canary_whose_metrics_are_bad_is_taken_back(story: Story, start_operator: Any) -> None:
    address, counted = outside_address(), {"stop": 100, "refused": 0}
    with pod_server(lambda request: says(metrics(counted))(request), address) as server:
        start_operator(NACELLE_RUNTIME_IMAGES=IMAGES)
        port = {"frontends": {"openai": {"port": server.port}}}
        bounds = {"maxErrorPercent": 5}
        rollout = {**WAITS, "checks": bounds}
        story.create(engine("1"), engine("2"), serve("1", replicas=2, rollout=rollout, **port))
        old = story.run_pods(2)
        story.reaches("Serving")
        story.edit(engine=SECOND)
        (new,) = story.until(lambda: (p := story.pods().keys() - old) and p)
        at = {"podIP": address, "podIPs": [{"ip": address}]}
        story.namespace.set_pod_status(new, {**running(True), **at})
        story.reaches("WaitingForPromotion")
        counted |= {"stop": 180, "refused": 20}
        story.reaches("ChecksFailed")
        assert ready(story)["message"].endswith(
            "20 of 100 requests of this step were refused: more than "
            "spec.rollout.checks.maxErrorPercent, 5"
        )
        assert set(server.asked) == {"/metrics"}
    rolled(story, a=2)
    assert selected(story) == "a"


def metrics(finished: dict[str, int]) -> bytes:
    """/metrics of a runtime that has ended these requests."""
    none = Histogram([1.0], [0, 0], 0.0)
    stats = Stats(*(1,) * 13, finished, none, none, none, 0.0, 0.0)
    return exposition(stats, Ready("k", 8, 16, 100, 64, 1, 0.5, ""), "m")
