"""Serving, by the operator as a process: real Deployments, pods told to run."""

import json
from typing import Any

import pytest
from serving_story import API, IMAGES, Story, engine, running, serve

from nacelle_engine.abi import ABI
from nacelle_engine.errors import TargetMismatch
from nacelle_engine.result import Failure, Result

pytestmark = pytest.mark.slow


def test_it_waits_serves_scales_and_goes(story: Story, start_operator: Any) -> None:
    start_operator(NACELLE_RUNTIME_IMAGES=IMAGES)
    story.create(serve("1"))
    story.reaches("EngineNotFound")
    story.create(engine("1"))
    first = story.run_pods(1)
    served = story.reaches("Serving")
    status = served["status"]
    assert status["currentEngine"] == "eng-" + "1" * 16
    assert status["url"] == f"http://chat.{story.namespace.name}.svc:8000"
    assert status["readyReplicas"] == 1

    path = story.namespace.path(API, "inferencedeployments", "chat") + "/scale"
    # Without a version: the operator may be about to note that it serves.
    kind = "application/merge-patch+json"
    story.namespace.plane.call("PATCH", path, {"spec": {"replicas": 2}}, kind)
    assert first < story.run_pods(2)
    story.until(lambda: story.reaches("Serving")["status"]["readyReplicas"] == 2)
    assert [
        b["metadata"]["name"] for b in story.namespace.list("policy/v1", "poddisruptionbudgets")
    ]
    told = {e["reason"] for e in story.namespace.list("events.k8s.io/v1", "events")}
    assert {"EngineNotFound", "RolloutStarted", "Serving"} <= told

    story.namespace.delete(API, "inferencedeployments", "chat")
    for api, plural in (
        ("apps/v1", "deployments"),
        ("apps/v1", "controllerrevisions"),
        ("v1", "services"),
        ("policy/v1", "poddisruptionbudgets"),
    ):
        story.is_gone(api, plural)
    assert story.namespace.get(API, "engines", "eng-" + "1" * 16), "the engine stays"


def test_a_refused_bundle_is_told_and_the_old_pods_stay(story: Story, start_operator: Any) -> None:
    start_operator(NACELLE_RUNTIME_IMAGES=IMAGES)
    story.create(engine("1"), engine("2"), serve("1"))
    old = story.run_pods(1)
    story.reaches("Serving")
    story.edit(engine={"engineRef": {"name": "eng-" + "2" * 16}})
    new = story.until(lambda: (p := story.pods().keys() - old) and p)
    message = Result(failure=Failure(code="TargetMismatch", message="no avx512f here")).message()
    end = {"exitCode": TargetMismatch.exit_code, "reason": "Error", "message": message}
    story.namespace.set_pod_status(new.pop(), running(False, terminated=end))
    found = story.reaches("BundleRefused")
    conditions = {c["type"]: c for c in found["status"]["conditions"]}
    assert conditions["Available"]["status"] == "True"
    assert conditions["Stalled"]["message"].endswith("TargetMismatch: no avx512f here")
    assert old <= story.pods().keys()


def test_a_killed_operator_goes_on_where_it_was(story: Story, start_operator: Any) -> None:
    operator = start_operator(NACELLE_RUNTIME_IMAGES=IMAGES)
    story.create(engine("1"), serve("1"))
    before = story.run_pods(1)
    story.reaches("Serving")
    operator.kill()
    story.edit(replicas=2)
    start_operator(NACELLE_RUNTIME_IMAGES=json.dumps({ABI: "runtime:2"}))
    assert before < story.run_pods(2), "another operator, another image: no pod is replaced"
    story.until(lambda: story.reaches("Serving")["status"]["readyReplicas"] == 2)
