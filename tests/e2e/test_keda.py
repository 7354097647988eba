"""Sleep, wake and scale by a real KEDA and a real Prometheus: `make e2e-keda`."""

import json
import time

import keda
import prometheus
import pytest
from clients import clients
from kstatus import kstatus
from resources import deployment, engine_build

from nacelle_demo.kubectl import condition, is_true
from nacelle_demo.question import Endpoint

pytestmark = pytest.mark.keda
BUILD_SECONDS = 1800.0
READY_SECONDS = 600.0
# Nobody asks for 2 minutes, and a minute more.
SLEEP_SECONDS = 600.0
CLIENTS = 4


@pytest.fixture(scope="module")
def address(stack, place, tmp_path_factory):
    """The Prometheus that KEDA asks, once both are there."""
    folder = tmp_path_factory.mktemp("images")
    keda.install(stack.cluster, stack.kubectl, folder)
    yield prometheus.install(stack, place.namespace, folder)
    print(keda.logs(stack.kubectl))  # shown when the test has failed
    keda.remove(stack.kubectl)


def test_it_sleeps_wakes_and_scales(place, stack, address):
    served = deployment(
        "woken",
        "woken",
        # One request at a time: others wait, which is what is scaled by.
        runtime={"maxBatchSize": 1},
        autoscaling={
            "provider": "KEDA",
            "minReplicas": 0,
            "maxReplicas": 2,
            "idleSeconds": 60,
            "metrics": [{"type": "QueuedRequests", "averageValue": 1}],
            "prometheus": {"serverAddress": address},
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        },
        pod={"resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "2Gi"}}},
    )
    del served["spec"]["replicas"]
    place.apply(engine_build("woken", "tiny"), served)
    place.until_ready("enginebuild", "woken", BUILD_SECONDS)
    place.until_ready("inferencedeployment", "woken", READY_SECONDS)
    place.until_condition(
        "inferencedeployment", "woken", "Autoscaling", "AutoscalerActive", READY_SECONDS
    )

    sleeps(place)
    endpoint = Endpoint(stack.cluster.kubeconfig, place.namespace, "woken")
    refused(endpoint, "GET", "woken is asleep: no replica answers. A POST request wakes it")
    assert place.get("inferencedeployment", "woken")["spec"]["replicas"] == 0
    refused(endpoint, "POST", "woken is waking up: no replica answers yet; try again in 10 seconds")
    place.until("inferencedeployment", "woken", "awake", answer(1), READY_SECONDS)
    first = said(endpoint)
    assert first

    def ask() -> None:
        assert said(endpoint) == first

    with clients(CLIENTS, ask):
        place.until("inferencedeployment", "woken", "two pods", answer(2), READY_SECONDS)
        time.sleep(10)  # both get requests for a while
    sleeps(place)
    place.delete("inferencedeployment", "woken")
    place.delete("enginebuild", "woken")


BODY = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}


def said(endpoint):
    """One whole answer; anything but one is an error."""
    return "".join(endpoint.ask("tiny", "Count to ten.", max_tokens=64))


def refused(endpoint, method, message):
    """What a client gets while no pod is there."""
    path, body = ("/v1/models", None) if method == "GET" else ("/v1/chat/completions", BODY)
    answered = endpoint.open(path, body)
    assert answered.status == 503
    assert answered.headers["Retry-After"] == "10"
    error = json.loads(answered.data)["error"]
    assert (error["code"], error["message"]) == ("waking_up", message)


def sleeps(place):
    """Wait until no pod is left, and see that this is a healthy state."""

    def holds(found):
        ready = condition(found, "Ready") or {}
        return found["spec"]["replicas"] == 0 and ready.get("reason") == "ScaledToZero"

    found = place.until("inferencedeployment", "woken", "asleep", holds, SLEEP_SECONDS)
    assert is_true(found, "Ready")
    assert kstatus(found) == "Current"
    place.until_condition(
        "inferencedeployment", "woken", "Autoscaling", "AutoscalerActive", READY_SECONDS
    )


def answer(count):
    """Whether this many replicas are asked for, and all of them answer."""

    def holds(found):
        wanted = found["spec"]["replicas"] == count
        ready = found["status"].get("readyReplicas") == count
        return wanted and ready and is_true(found, "Ready")

    return holds
