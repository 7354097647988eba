"""Faults of what a cluster stands on, while clients check every answer and a build goes on.

The API server is restarted, etcd stands still for 10 s, the kubelet is restarted, a pod that serves
is deleted: pods that nobody killed go on answering, and the build ends as one build.
"""

import json
import time
import urllib.request
from collections.abc import Callable

import pytest
from clients import clients
from node_programs import NodeProgram
from resources import deployment, engine_build

from nacelle_cluster.connection import EmbeddedCluster
from nacelle_demo.kubectl import is_true

pytestmark = pytest.mark.e2e
BUILD_SECONDS = 600.0
READY_SECONDS = 240.0
NAME = "steady"


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
    with clients(2, ask):
        limits = {"maxBatchSize": 6 + number, "maxInputLen": 96, "maxSeqLen": 192}
        place.apply(engine_build(name, "tiny", limits={**limits, "maxNumTokens": 64}))
        place.until("enginebuild", name, "begun", lambda b: jobs_of(b), READY_SECONDS)
        fault(embedded)
        build = place.until_ready("enginebuild", name, BUILD_SECONDS)
        place.until_ready("inferencedeployment", NAME, READY_SECONDS)
    (target,) = build["status"]["targets"]
    assert len(target["jobs"]) == 1 and target["attempts"] == 1
    made = [j["metadata"]["name"] for j in place.kubectl.items("jobs", place.namespace)]
    assert made.count(target["jobs"][0]) == 1
    assert serving(place) == before
    place.delete("enginebuild", name)


def test_a_deleted_pod_is_replaced_and_the_other_one_answers(place, steady):
    before = serving(place)
    gone = sorted(before)[0]
    place.kubectl.run("-n", place.namespace, "delete", "pod", gone, "--wait=false")

    def replaced(found: dict[str, object]) -> bool:
        return is_true(found, "Ready") and len(serving(place)) == 2 and gone not in serving(place)

    found = place.until("inferencedeployment", NAME, "two pods", replaced, READY_SECONDS)
    assert found["status"]["readyReplicas"] == 2
    assert len(set(serving(place)) & set(before)) == 1


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


def jobs_of(build):
    return [job for target in build["status"].get("targets", []) for job in target.get("jobs", [])]


def serving(place) -> dict[str, str]:
    """The deployment's pods that are to stay: their names and uids."""
    return {
        pod["metadata"]["name"]: pod["metadata"]["uid"]
        for pod in place.kubectl.items("pods", place.namespace)
        if pod["metadata"]["labels"].get("nacelle.dev/inference-deployment") == NAME
        and "deletionTimestamp" not in pod["metadata"]
    }
