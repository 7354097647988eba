"""Faults of what a cluster stands on, while clients check every answer and a build goes on.

The API server is restarted, etcd stands still for 10 s, the kubelet is restarted, a pod that serves
is deleted: pods that nobody killed go on answering, and the build ends as one build.
"""

import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from clients import clients
from node_programs import NodeProgram
from resources import deployment, engine_build

from nacelle_cluster.connection import EmbeddedCluster
from nacelle_demo.kubectl import is_true
from nacelle_demo.waiting import wait_for
from nacelle_operator.objects import names

pytestmark = pytest.mark.e2e
BUILD_SECONDS = 600.0
READY_SECONDS = 240.0
NAME = "steady"
# Between a client's questions: most of the machine is the build's.
PAUSE = 0.2


@pytest.fixture(scope="module")
def embedded(stack) -> EmbeddedCluster:
    if not isinstance(stack.cluster, EmbeddedCluster):
        pytest.skip("the node's programs are those of the embedded cluster")
    return stack.cluster


@pytest.fixture(scope="module")
def steady(place):
    """Two pods of the tiny engine, served."""
    place.apply(engine_build(NAME, "tiny"), deployment(NAME, NAME, replicas=2))
    place.until_ready("enginebuild", NAME, BUILD_SECONDS)
    place.until_ready("inferencedeployment", NAME, READY_SECONDS)
    yield
    place.delete("inferencedeployment", NAME)
    place.delete("enginebuild", NAME)


def restart_api_server(cluster: EmbeddedCluster) -> None:
    NodeProgram(cluster, "kube-apiserver").restart()


def pause_etcd(cluster: EmbeddedCluster) -> None:
    with NodeProgram(cluster, "etcd").paused():
        time.sleep(10)


def restart_kubelet(cluster: EmbeddedCluster) -> None:
    NodeProgram(cluster, "kubelet").restart()


@pytest.mark.parametrize(
    ("number", "fault"), list(enumerate((restart_api_server, pause_etcd, restart_kubelet)))
)
def test_a_fault_of_the_cluster_costs_no_answer_and_no_build(
    place, embedded, steady, number: int, fault: Callable[[EmbeddedCluster], None]
):
    answer = asker(place)
    first = answer()
    before = serving(place)

    def ask() -> None:
        assert answer() == first

    name = f"through-{number}"
    with clients(2, ask, pause=PAUSE):
        limits = {"maxBatchSize": 6 + number, "maxInputLen": 96, "maxSeqLen": 192}
        place.apply(engine_build(name, "tiny", limits={**limits, "maxNumTokens": 64}))
        # A container that the kubelet was starting when it was restarted would be another attempt.
        place.until("enginebuild", name, "at work", is_at_work, READY_SECONDS)
        begun = jobs_of(place, name)
        fault(embedded)
        wait_for("the API server", lambda: is_reached(place), deadline=READY_SECONDS)
        build = place.until_ready("enginebuild", name, BUILD_SECONDS)
        place.until_ready("inferencedeployment", NAME, READY_SECONDS)
    (target,) = build["status"]["targets"]
    assert target["attempts"] == 1
    assert len(begun) == 1 and jobs_of(place, name) == begun
    assert target["jobs"] == list(begun)
    assert serving(place) == before
    place.delete("enginebuild", name)


def test_a_deleted_pod_is_replaced_and_the_other_one_answers(place, steady):
    answer = asker(place)
    first = answer()
    before = serving(place)
    gone = sorted(before)[0]

    def ask() -> None:
        assert answer() == first

    def replaced(found: dict[str, Any]) -> bool:
        pods = serving(place)
        fresh = [pod for name, pod in pods.items() if name not in before]
        return (
            len(pods) == 2
            and len(fresh) == 1
            and is_true(found, "Ready")
            and is_ready(place, *fresh)
            and found["status"]["readyReplicas"] == 2
        )

    with clients(2, ask, pause=PAUSE):
        place.kubectl.run("-n", place.namespace, "delete", "pod", gone, "--wait=false")
        place.until("inferencedeployment", NAME, "two pods", replaced, READY_SECONDS)
    assert serving(place).items() >= before.items() - {(gone, before[gone])}


def asker(place) -> Callable[[], str]:
    """Asks by the Service's own address: the API server has no part in it."""
    spec = place.get("service", NAME)["spec"]
    url = f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}/v1/chat/completions"
    message = {"role": "user", "content": "Count to ten."}
    asked = {"model": "tiny", "messages": [message], "max_tokens": 16, "temperature": 0}
    body, headers = json.dumps(asked).encode(), {"Content-Type": "application/json"}

    def answer() -> str:
        request = urllib.request.Request(url, data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answered:
            text: str = json.loads(answered.read())["choices"][0]["message"]["content"]
        return text

    return answer


def is_reached(place) -> bool:
    """Whether the API server answers that it is ready."""
    asked = ("get", "--raw", "/readyz", "--request-timeout=3s")
    return place.kubectl.attempt(*asked).returncode == 0


def is_at_work(build: dict[str, Any]) -> bool:
    """Whether the builder has told of its first stage."""
    return any(target.get("stage") for target in build.get("status", {}).get("targets", ()))


def jobs_of(place, build: str) -> dict[str, str]:
    """The build's Jobs: their names and uids."""
    found = place.kubectl.items("jobs", place.namespace, f"{names.BUILD}={build}")
    return {job["metadata"]["name"]: job["metadata"]["uid"] for job in found}


def is_ready(place, uid: str) -> bool:
    """Whether the pod of that uid is ready."""
    pods = place.kubectl.items("pods", place.namespace, f"{names.DEPLOYMENT}={NAME}")
    return any(pod["metadata"]["uid"] == uid and is_true(pod, "Ready") for pod in pods)


def serving(place) -> dict[str, str]:
    """The deployment's pods that are to stay: their names and uids."""
    return {
        pod["metadata"]["name"]: pod["metadata"]["uid"]
        for pod in place.kubectl.items("pods", place.namespace, f"{names.DEPLOYMENT}={NAME}")
        if "deletionTimestamp" not in pod["metadata"]
    }
