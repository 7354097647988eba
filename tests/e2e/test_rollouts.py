"""Rollouts on a real cluster, under clients that check every answer."""

from contextlib import AbstractContextManager

import pytest
from clients import clients
from resources import deployment, engine_build

from nacelle_demo.kubectl import condition, is_true
from nacelle_demo.question import Endpoint

pytestmark = pytest.mark.e2e
BUILD_SECONDS = 600.0
ROLLOUT_SECONDS = 180.0
CLIENTS = 2


@pytest.fixture(scope="module")
def rolled(place):
    """One pod of the tiny engine, served."""
    place.apply(engine_build("rolled", "tiny"), deployment("rolled", "rolled"))
    place.until_ready("enginebuild", "rolled", BUILD_SECONDS)
    place.until_ready("inferencedeployment", "rolled", ROLLOUT_SECONDS)
    yield
    place.delete("inferencedeployment", "rolled")
    place.delete("enginebuild", "rolled")


def checked(endpoint: Endpoint) -> AbstractContextManager[None]:
    """Clients that ask the same question again and again: an answer that is not the first one, or
    none, is an error.
    """

    def answer() -> str:
        return "".join(endpoint.ask("tiny", "Count to ten.", max_tokens=16))

    first = answer()
    assert first

    def ask() -> None:
        assert answer() == first

    return clients(CLIENTS, ask)


def edit(place, **spec):
    place.apply(deployment("rolled", "rolled", **spec))


def test_blue_green_under_clients(place, stack, rolled):
    green = {"strategy": "BlueGreen", "blueGreen": {"scaleDownDelay": "2s"}}
    with checked(Endpoint(stack.cluster.kubeconfig, place.namespace, "rolled")):
        edit(place, rollout=green, pod={"labels": {"colour": "green"}})
        found = place.until(
            "inferencedeployment",
            "rolled",
            "revision 2",
            lambda d: is_true(d, "Ready") and d["status"]["rollout"]["revision"] == 2,
            ROLLOUT_SECONDS,
        )
    assert found["status"]["rollout"]["slot"] == "b"
    (pod,) = _pods(place)
    assert pod["metadata"]["labels"]["colour"] == "green"


def test_a_canary_that_fails_is_taken_back_under_clients(place, stack, rolled):
    before = [pod["metadata"]["uid"] for pod in _pods(place)]
    slot = place.get("inferencedeployment", "rolled")["status"]["rollout"]["slot"]
    canary = {"strategy": "Canary", "canary": {"steps": [{"weightPercent": 50}]}}
    least = {"memory": "48Mi"}
    starved = {"resources": {"requests": least, "limits": least}, "labels": {"colour": "red"}}
    with checked(Endpoint(stack.cluster.kubeconfig, place.namespace, "rolled")):
        edit(place, rollout=canary, pod=starved)
        place.until("inferencedeployment", "rolled", "failed", _has_failed, ROLLOUT_SECONDS)
        found = place.until(
            "inferencedeployment",
            "rolled",
            "the old pod alone",
            lambda d: [pod["metadata"]["uid"] for pod in _pods(place)] == before,
            ROLLOUT_SECONDS,
        )
    status = found["status"]
    assert condition(found, "Ready")["status"] == "False"
    assert condition(found, "Available")["status"] == "True"
    assert (status["rollout"]["slot"], status["readyReplicas"]) == (slot, 1)
    assert status["rollout"]["history"][0]["outcome"] == "Failed"


def _has_failed(found):
    """Whether the newest revision has failed; which of its processes is ended first is chance."""
    reason = (condition(found, "Stalled") or {}).get("reason")
    return reason in ("OutOfMemory", "CrashLooping")


def _pods(place):
    """The deployment's pods that are to stay."""
    return [
        pod
        for pod in place.kubectl.items("pods", place.namespace)
        if pod["metadata"]["labels"].get("nacelle.dev/inference-deployment") == "rolled"
        and "deletionTimestamp" not in pod["metadata"]
    ]
