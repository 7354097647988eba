"""Changes of every kind on a real cluster, under clients that check every answer."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection

import pytest
from clients import clients
from resources import deployment, engine_build

from nacelle_cluster.connection import EmbeddedCluster
from nacelle_demo.kubectl import condition, is_true
from nacelle_demo.question import Endpoint
from nacelle_demo.settings import CHECKOUT
from nacelle_demo.stack import OPERATOR_NAMESPACE, RELEASE
from nacelle_demo.waiting import wait_for
from nacelle_operator.objects import names

pytestmark = pytest.mark.e2e
BUILD_SECONDS = 600.0
ROLLOUT_SECONDS = 180.0
CLIENTS = 2
MESSAGE = {"role": "user", "content": "Count to ten."}
# Four find room on the node.
SMALL = {"requests": {"cpu": "200m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}


@pytest.fixture(scope="module")
def rolled(place):
    """One pod of the tiny engine, served."""
    place.apply(engine_build("rolled", "tiny"))
    edit(place)
    place.until_ready("enginebuild", "rolled", BUILD_SECONDS)
    place.until_ready("inferencedeployment", "rolled", ROLLOUT_SECONDS)
    yield
    place.delete("inferencedeployment", "rolled")
    place.delete("enginebuild", "rolled")


@pytest.fixture
def asked(place, stack, rolled) -> Iterator[None]:
    """Meanwhile clients ask the same question again and again: an answer that is not the first
    one, or none, is an error. They come through the API server, and one by the Service's own
    address on a connection that it keeps.
    """
    endpoint = Endpoint(stack.cluster.kubeconfig, place.namespace, "rolled")

    def answer() -> str:
        began, pieces = datetime.now(UTC), []
        try:
            for piece in endpoint.ask("tiny", MESSAGE["content"], max_tokens=16):
                pieces.append(piece)
        except Exception as error:
            error.add_note(f"asked at {began:%H:%M:%S.%f} UTC, {len(pieces)} pieces came")
            raise
        return "".join(pieces)

    first = answer()
    assert first

    def ask() -> None:
        assert answer() == first

    try:
        with clients(CLIENTS, ask, pause=0.1), _keeping(place, stack, first):
            yield
            # Clients may be connected to pods that are to go until the last moment.
            wait_for("the end of the pods that are to go", lambda: not _going(place), deadline=90)
    except Exception as error:
        error.add_note(_handed_through(stack))
        error.add_note(place.pods_of("inferencedeployment", "rolled"))
        error.add_note(place.events())
        raise


@contextmanager
def _keeping(place, stack, first: str) -> Iterator[None]:
    """A client that keeps its connection until an answer says that it was the last."""
    if not isinstance(stack.cluster, EmbeddedCluster):
        yield  # the Service's address is none for who is outside
        return
    spec = place.get("service", "rolled")["spec"]
    connection = HTTPConnection(spec["clusterIP"], spec["ports"][0]["port"], timeout=60)
    asked = {"model": "tiny", "messages": [MESSAGE], "max_tokens": 16, "temperature": 0}
    body, headers = json.dumps(asked), {"Content-Type": "application/json"}

    def ask() -> None:
        connection.request("POST", "/v1/chat/completions", body, headers)
        answer = json.loads(connection.getresponse().read())
        assert answer["choices"][0]["message"]["content"] == first

    with closing(connection), clients(1, ask, pause=0.1):
        yield


def _handed_through(stack) -> str:
    """What the API server said last of answers that it could not hand through to their end."""
    if not isinstance(stack.cluster, EmbeddedCluster):
        return "its log is not at hand"
    log = (stack.cluster.spec.logs / "kube-apiserver.log").read_text(errors="replace")
    told = [line for line in log.splitlines() if "ReverseProxy" in line or " abort " in line]
    return "\n".join(told[-10:])


def edit(place, *, pod=None, **spec):
    """Apply the deployment anew with other fields in its spec and its pods'."""
    place.apply(deployment("rolled", "rolled", pod={"resources": SMALL, **(pod or {})}, **spec))


def roll_out(place, **changes):
    """Edit; wait until the next revision is rolled out, and give the deployment."""
    number = place.get("inferencedeployment", "rolled")["status"]["rollout"]["revision"] + 1
    edit(place, **changes)

    def holds(found):
        return is_true(found, "Ready") and found["status"]["rollout"]["revision"] == number

    return place.until(
        "inferencedeployment", "rolled", f"revision {number}", holds, ROLLOUT_SECONDS
    )


def scale(place, replicas):
    """As a user scales; wait until so many pods answer, and no other is left."""
    name = "inferencedeployment/rolled"
    place.kubectl.run("-n", place.namespace, "scale", name, f"--replicas={replicas}")

    def holds(found):
        ready = found["status"].get("readyReplicas") == replicas
        return ready and is_true(found, "Ready") and len(_pods(place)) == replicas

    place.until("inferencedeployment", "rolled", f"{replicas} pods", holds, ROLLOUT_SECONDS)


def test_replicas_come_and_go(place, asked):
    for replicas in (1, 4, 1):
        scale(place, replicas)


def test_a_rolling_update(place, asked):
    (before,) = _pods(place)
    roll_out(place, pod={"labels": {"colour": "blue"}})
    (pod,) = _pods(place)
    assert pod["metadata"]["labels"]["colour"] == "blue"
    assert pod["metadata"]["uid"] != before["metadata"]["uid"]


def test_the_operator_is_upgraded(place, stack, asked):
    """To another form, and to the first one again: no serving pod is touched."""
    serving, operators = _uids(_pods(place)), _uids(_operators(place))
    upgrade = ("upgrade", RELEASE, str(CHECKOUT / "charts" / "nacelle"), "--reuse-values")
    changed = ("--namespace", OPERATOR_NAMESPACE, "--set", "logLevel=DEBUG")
    stack.helm.run(*upgrade, *changed, "--wait", "--timeout", "120s")
    assert not _uids(_operators(place)) & operators
    stack.install_operator()
    # It is at work: it follows what is asked for.
    scale(place, 2)
    assert serving < _uids(_pods(place))
    scale(place, 1)


def test_a_node_is_drained(place, stack, asked):
    """Its budget keeps one pod until the other one's successor, for which there is room again."""
    scale(place, 2)
    before = _uids(_pods(place))
    (node,) = {pod["spec"]["nodeName"] for pod in _pods(place)}
    drain = (
        *("drain", node, "--pod-selector", f"{names.DEPLOYMENT}=rolled"),
        *("--delete-emptydir-data", "--timeout=150s"),
    )
    with ThreadPoolExecutor(1) as pool:
        try:
            draining = pool.submit(place.kubectl.run, *drain, deadline=160)
            wait_for("an eviction", lambda: not before <= _uids(_pods(place)), deadline=60)
            assert before & _uids(_pods(place)), "both went at once"
        finally:
            place.kubectl.run("uncordon", node)
        draining.result()
    scale(place, 2)
    assert not before & _uids(_pods(place))
    scale(place, 1)


def test_blue_green(place, asked):
    green = {"strategy": "BlueGreen", "blueGreen": {"scaleDownDelay": "2s"}}
    found = roll_out(place, rollout=green, pod={"labels": {"colour": "green"}})
    assert found["status"]["rollout"]["slot"] == "b"
    (pod,) = _pods(place)
    assert pod["metadata"]["labels"]["colour"] == "green"


def test_a_canary_that_fails_is_taken_back(place, asked):
    before = [pod["metadata"]["uid"] for pod in _pods(place)]
    slot = place.get("inferencedeployment", "rolled")["status"]["rollout"]["slot"]
    canary = {"strategy": "Canary", "canary": {"steps": [{"weightPercent": 50}]}}
    least = {"memory": "48Mi"}
    starved = {"resources": {"requests": least, "limits": least}, "labels": {"colour": "red"}}
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
    return _staying(place, place.namespace, f"{names.DEPLOYMENT}=rolled")


def _going(place):
    """The deployment's pods that are to go, and have not yet."""
    pods = place.kubectl.items("pods", place.namespace, f"{names.DEPLOYMENT}=rolled")
    return [pod for pod in pods if "deletionTimestamp" in pod["metadata"]]


def _operators(place):
    """The operator's pods that are to stay."""
    return _staying(place, OPERATOR_NAMESPACE, "app.kubernetes.io/name=nacelle")


def _staying(place, namespace, selector):
    pods = place.kubectl.items("pods", namespace, selector)
    return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def _uids(pods):
    return {pod["metadata"]["uid"] for pod in pods}
