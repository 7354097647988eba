"""The operator behind a proxy: wrong answers, none at all, silent watches, a leader cut off."""

import itertools
import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from api_proxy import ApiProxy, Fault
from serving_story import IMAGES, engine, running, serve

pytestmark = pytest.mark.slow
API = "nacelle.dev/v1alpha1"
FAULTS: tuple[Fault, ...] = (429, 500, 409, "lost", "hang")


@pytest.fixture
def proxy(control_plane: Any, tmp_path: Path) -> Iterator[ApiProxy]:
    with ApiProxy(control_plane, tmp_path / "proxy").running() as made:
        yield made


def is_served(namespace: Any) -> bool:
    """Make pods ready as they come; whether the deployment says that it serves."""
    for pod in namespace.list("v1", "pods"):
        if pod["status"].get("phase") == "Pending":
            namespace.set_pod_status(pod["metadata"]["name"], running(True))
    found = namespace.get(API, "inferencedeployments", "chat") or {}
    conditions = found.get("status", {}).get("conditions", ())
    return any(c["type"] == "Ready" and c["reason"] == "Serving" for c in conditions)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_write_that_fails_is_tried_again(
    fault: Fault, proxy: ApiProxy, namespace: Any, start_operator: Any, until: Callable[..., Any]
) -> None:
    """Each write fails when it is made first; in the end there is one of everything."""
    tried: dict[str, int] = defaultdict(int)

    def first_time(method: str, path: str) -> Fault:
        if method == "GET" or "/leases" in path or "/events" in path:
            return None
        place = path.partition("?")[0]
        tried[place] += 1
        return fault if tried[place] == 1 else None

    proxy.fault = first_time
    operator = start_operator(KUBECONFIG=str(proxy.kubeconfig), NACELLE_RUNTIME_IMAGES=IMAGES)
    namespace.create("engines", engine("1"))
    namespace.create("inferencedeployments", serve("1", replicas=1))
    until(lambda: is_served(namespace), seconds=180)
    assert operator.process.poll() is None
    made = {
        plural: [found["metadata"]["name"] for found in namespace.list("apps/v1", plural)]
        for plural in ("deployments", "controllerrevisions")
    }
    assert made == {"deployments": ["chat-a"], "controllerrevisions": ["chat-1"]}
    assert len(namespace.list("v1", "pods")) == 1
    failed = [call for call in proxy.calls if call.fault is not None]
    assert len({call.path for call in failed}) >= 4


def test_what_never_goes_well_is_tried_less_and_less_often(
    proxy: ApiProxy, namespace: Any, start_operator: Any, until: Callable[..., Any]
) -> None:
    """With delays from 0.25 to 0.5 s that double, n tries take at least 0.25 (2^(n-1) - 1) s."""
    refused = f"/namespaces/{namespace.name}/deployments/"
    proxy.fault = lambda method, path: 500 if method == "PATCH" and refused in path else None
    start_operator(KUBECONFIG=str(proxy.kubeconfig), NACELLE_RUNTIME_IMAGES=IMAGES)
    namespace.create("engines", engine("1"))
    namespace.create("inferencedeployments", serve("1", replicas=1))

    def tries() -> list[float]:
        return [call.at for call in proxy.calls if call.fault == 500]

    # Events of the resource must not cut the delay short.
    def poke() -> bool:
        change = {"metadata": {"annotations": {"poke": str(time.monotonic())}}}
        namespace.merge(API, "inferencedeployments", "chat", change)
        return len(tries()) >= 5

    until(poke, seconds=60)
    at = tries()
    took = at[-1] - at[0]
    assert len(at) <= 1 + math.log2(1 + took / 0.25)
    assert len({round(after - before, 3) for before, after in itertools.pairwise(at)}) > 1
    proxy.fault = lambda method, path: None
    until(lambda: is_served(namespace), seconds=60)


def test_told_to_end_it_does_not_wait_for_lists(proxy: ApiProxy, start_operator: Any) -> None:
    """A list may take a minute."""
    listed = threading.Event()

    def without_end(method: str, path: str) -> Fault:
        if "/jobs?" not in path:
            return None
        listed.set()
        return "hang"

    proxy.fault = without_end
    operator = start_operator(KUBECONFIG=str(proxy.kubeconfig))
    assert listed.wait(60)
    assert operator.stop() == 0


def test_a_leader_cut_off_ends_before_the_standby_writes(
    control_plane: Any,
    namespace: Any,
    tmp_path: Path,
    start_operator: Any,
    until: Callable[..., Any],
) -> None:
    with (
        ApiProxy(control_plane, tmp_path / "one").running() as one,
        ApiProxy(control_plane, tmp_path / "two").running() as two,
    ):
        leader, standby = (
            start_operator(
                POD_NAME=proxy.folder.name,
                KUBECONFIG=str(proxy.kubeconfig),
                NACELLE_RUNTIME_IMAGES=IMAGES,
            )
            for proxy in (one, two)
        )
        until(lambda: "is held by" in leader.log.read_text() + standby.log.read_text())
        if "is held by" in standby.log.read_text():
            one, two, leader, standby = two, one, standby, leader
        until(lambda: "the cache is synced" in standby.log.read_text())
        namespace.create("engines", engine("1"))
        until(one.writes)
        namespace.create("inferencedeployments", serve("1", replicas=1))
        began = time.monotonic()
        one.frozen.set()
        code = leader.process.wait(timeout=60)
        until(lambda: is_served(namespace), seconds=90)
        passed = [call.at for call in one.writes() if call.fault is None]
        took = two.writes()[0].at - began
        print(f"the standby wrote {took:.1f} s after the leader was cut off")
        assert code == 1 and passed[-1] < two.writes()[0].at
        assert standby.process.poll() is None


@pytest.mark.chaos
def test_watches_that_die_in_silence_are_begun_again(
    proxy: ApiProxy, namespace: Any, start_operator: Any, until: Callable[..., Any]
) -> None:
    operator = start_operator(KUBECONFIG=str(proxy.kubeconfig), NACELLE_RUNTIME_IMAGES=IMAGES)
    namespace.create("engines", engine("1"))
    until(proxy.writes)
    proxy.silence_streams()
    namespace.create("inferencedeployments", serve("1", replicas=1))
    began = time.monotonic()
    # Bookmarks come every minute: 70 s without a word are too many.
    until(lambda: is_served(namespace), seconds=240)
    print(f"served {time.monotonic() - began:.0f} s after the watches fell silent")
    assert operator.process.poll() is None
