"""What the demo shows: a model becomes an engine, the engine a service, the service answers."""

import json

import pytest
import yaml
from resources import deployment, engine_build

from nacelle_demo.kubectl import is_true
from nacelle_demo.question import Endpoint
from nacelle_demo.settings import CHECKOUT
from nacelle_demo.stack import OPERATOR_NAMESPACE, RELEASE

pytestmark = pytest.mark.e2e
BUILD_SECONDS = 600.0
READY_SECONDS = 180.0


@pytest.fixture(scope="module")
def served(place):
    """The demo's sample, applied and ready."""
    for document in yaml.safe_load_all((CHECKOUT / "samples" / "smollm2.yaml").read_text()):
        place.apply(document)
    build = place.until_ready("enginebuild", "smollm2", BUILD_SECONDS)
    place.until_ready("inferencedeployment", "smollm2", READY_SECONDS)
    return build


def test_helm_finds_the_installation_sound(stack):
    said = stack.helm.run(
        "test", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--timeout", "150s"
    )  # fmt: skip
    assert "Succeeded" in said and "Failed" not in said


def test_the_service_streams_the_right_answer(place, served, stack):
    endpoint = Endpoint(stack.cluster.kubeconfig, place.namespace, "smollm2")
    pieces = list(endpoint.ask("smollm2", "What is the capital of France?"))
    assert "Paris" in "".join(pieces)
    assert len(pieces) > 3


def test_the_build_tells_its_progress_its_accuracy_and_its_engine(place, served):
    (target,) = served["status"]["targets"]
    assert target["percent"] == 100
    assert float(target["accuracy"]["meanKLDivergence"]) < 0.1
    engine = place.get("engine", target["engineRef"]["name"])
    assert is_true(engine, "Ready")
    assert engine["spec"]["architecture"] == "x86-64-v3"
    assert {"kind": "InferenceDeployment", "name": "smollm2"} in engine["status"]["usedBy"]


def test_what_is_published_is_not_built_again(place, served):
    jobs = _names(place, "jobs")
    place.apply(engine_build("smollm2-again", "smollm2", **served["spec"]))
    second = place.until_ready("enginebuild", "smollm2-again", 30)
    (first_target,), (target,) = served["status"]["targets"], second["status"]["targets"]
    assert target["engineRef"] == first_target["engineRef"]
    assert target["jobs"] == first_target["jobs"]
    assert _names(place, "jobs") == jobs, "the same request is the same Job"
    place.delete("enginebuild", "smollm2-again")
    assert is_true(place.get("engine", target["engineRef"]["name"]), "Ready")


def test_events_tell_the_story(place, served):
    text = place.kubectl.run("-n", place.namespace, "describe", "enginebuild", "smollm2")
    assert "Events:" in text
    assert "EnginePublished" in text


def test_scale_and_edits_reach_the_pods(place, served):
    name = "inferencedeployment/smollm2"
    place.kubectl.run("-n", place.namespace, "scale", name, "--replicas=0")
    found = place.until(
        "inferencedeployment",
        "smollm2",
        "no replica",
        lambda d: is_true(d, "Ready") and d["status"].get("replicas", 0) == 0,
        60,
    )
    ready = next(c for c in found["status"]["conditions"] if c["type"] == "Ready")
    assert ready["reason"] == "ScaledToZero"
    place.kubectl.run("-n", place.namespace, "scale", name, "--replicas=1")
    place.until(
        "inferencedeployment",
        "smollm2",
        "one ready replica",
        lambda d: is_true(d, "Ready") and d["status"].get("readyReplicas") == 1,
        READY_SECONDS,
    )


def test_a_new_operator_restarts_no_pod(place, served, stack):
    before = _pods(place, "smollm2")
    stack.kubectl.run(
        "-n", "nacelle-system", "rollout", "restart", "deployment", "-l",
        "app.kubernetes.io/name=nacelle",
    )  # fmt: skip
    stack.kubectl.run(
        "-n", "nacelle-system", "rollout", "status", "deployment", "-l",
        "app.kubernetes.io/name=nacelle", "--timeout=120s", deadline=130,
    )  # fmt: skip
    place.until_ready("inferencedeployment", "smollm2", 60)
    assert _pods(place, "smollm2") == before


def test_a_deployment_waits_for_its_engine_and_follows_an_edit(place):
    place.apply(deployment("tiny", "tiny"))
    place.until_condition("inferencedeployment", "tiny", "Ready", "BuildNotFound", 30)
    place.apply(engine_build("tiny", "tiny"))
    first = place.until_ready("inferencedeployment", "tiny", BUILD_SECONDS)
    limits = {"maxBatchSize": 2, "maxInputLen": 64, "maxSeqLen": 128, "maxNumTokens": 64}
    place.apply(engine_build("tiny", "tiny", limits=limits))
    old = first["status"]["currentEngine"]
    found = place.until(
        "inferencedeployment",
        "tiny",
        "the new engine",
        lambda d: is_true(d, "Ready") and d["status"]["currentEngine"] != old,
        BUILD_SECONDS,
    )
    assert found["status"]["previousEngine"] == old
    engine = place.get("engine", found["status"]["currentEngine"])
    assert engine["spec"]["limits"]["maxBatchSize"] == 2


def test_an_engine_drafts_for_another_and_changes_no_answer(place, stack):
    endpoint = Endpoint(stack.cluster.kubeconfig, place.namespace, "tiny")
    before = place.get("inferencedeployment", "tiny")["status"]
    undrafted = _completion(endpoint)
    ref = {"name": before["currentEngine"]}
    drafting = {"method": "DraftEngine", "tokens": 2, "draftEngineRef": ref}
    place.apply(deployment("tiny", "tiny", runtime={"speculative": drafting}))
    place.until(
        "inferencedeployment",
        "tiny",
        "pods that draft",
        lambda d: (
            is_true(d, "Ready")
            and d["status"]["rollout"]["revision"] > before["rollout"]["revision"]
        ),
        READY_SECONDS,
    )
    assert _completion(endpoint) == undrafted
    pods = f"nacelle.dev/draft-engine={ref['name']}"
    log = place.kubectl.run("-n", place.namespace, "logs", "-l", pods, "--tail=-1")
    assert f"drafts    draft, at most 2 tokens, by engine {ref['name'].removeprefix('eng-')}" in log


def _completion(endpoint):
    greedy = {"temperature": 0, "ignore_eos": True}
    asked = {"model": "tiny", "prompt": [5, 6, 7], "max_tokens": 32, **greedy}
    return json.loads(endpoint.open("/v1/completions", asked).data)["choices"]


def test_a_deleted_resource_takes_everything_with_it(place):
    if place.get("inferencedeployment", "tiny") is None:
        place.apply(engine_build("tiny", "tiny"), deployment("tiny", "tiny"))
        place.until_ready("inferencedeployment", "tiny", BUILD_SECONDS)
    place.delete("inferencedeployment", "tiny")
    place.delete("enginebuild", "tiny")
    for kind in ("deployment", "service", "poddisruptionbudget", "controllerrevision", "job"):
        _until_none(place, kind, "tiny")
    text = place.kubectl.run("-n", place.namespace, "get", "engines", "-o", "json")
    kept = [e for e in json.loads(text)["items"] if e["spec"]["modelName"] == "tiny"]
    assert kept, "deletionPolicy Retain keeps the engines"


def _names(place, kind):
    """The names of all objects of a kind."""
    return sorted(item["metadata"]["name"] for item in place.kubectl.items(kind, place.namespace))


def _pods(place, name):
    """The pods of a deployment that are to stay: one that is going already says nothing."""
    return sorted(
        pod["metadata"]["uid"]
        for pod in place.kubectl.items("pods", place.namespace)
        if pod["metadata"]["name"].startswith(f"{name}-")
        and "deletionTimestamp" not in pod["metadata"]
    )


def _until_none(place, kind, owner):
    """Wait until no object of a kind belongs to a resource of this name."""
    from nacelle_demo.waiting import wait_for

    def none_left():
        return not [
            item["metadata"]["name"]
            for item in place.kubectl.items(kind, place.namespace)
            if any(ref["name"] == owner for ref in item["metadata"].get("ownerReferences", []))
        ]

    wait_for(f"no {kind} of {owner}", none_left, deadline=60)
