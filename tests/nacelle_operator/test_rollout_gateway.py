"""A canary behind a real Gateway: Traefik sends out what the operator's route weighs."""

import contextlib
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import foreign_kinds
import gateway
import pytest
from control_plane import ControlPlane
from pod_server import outside_address, pod_server, says
from rollout_story import rolled
from serving_story import IMAGES, Story, engine, serve

pytestmark = pytest.mark.slow

KINDS = (
    "backendtlspolicies",
    "gatewayclasses",
    "gateways",
    "grpcroutes",
    "httproutes",
    "referencegrants",
    "tlsroutes",
)
GATEWAY = "gateway.networking.k8s.io/v1"
HOST = "chat.example.com"
STEPS = [{"weightPercent": 20}]
ROUTE = {"parentRefs": [{"name": "gate"}], "hostnames": [HOST]}
CANARY = {"strategy": "Canary", "canary": {"steps": STEPS, "route": ROUTE}}


@pytest.fixture
def gateway_port(
    control_plane: ControlPlane, namespace: Any, until: Any, tmp_path: Path
) -> Iterator[int]:
    """Where a Gateway `gate` of the namespace takes requests."""
    with foreign_kinds.installed(control_plane, until, foreign_kinds.GATEWAY_API, *KINDS):
        log = tmp_path / "traefik.log"
        with gateway.running(control_plane.kubeconfig, log) as port:
            control_plane.call(
                "POST",
                f"/apis/{GATEWAY}/gatewayclasses",
                {
                    "apiVersion": GATEWAY,
                    "kind": "GatewayClass",
                    "metadata": {"name": "traefik"},
                    "spec": {"controllerName": gateway.CONTROLLER},
                },
            )
            listener = {"name": "web", "protocol": "HTTP", "port": port}
            made = {
                "apiVersion": GATEWAY,
                "kind": "Gateway",
                "metadata": {"name": "gate"},
                "spec": {"gatewayClassName": "traefik", "listeners": [listener]},
            }
            namespace.create("gateways", made)
            yield port
        print(log.read_text()[-5000:])  # shown when the test has failed


def ask(port: int) -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"Host": HOST})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(answer.read().decode())


def shares(port: int) -> Counter[str]:
    return Counter(ask(port) for _ in range(100))


@contextlib.contextmanager
def client(port: int) -> Iterator[Counter[str]]:
    """Somebody who asks all the time; an answer that is none is an error."""
    stop, answers = Event(), Counter[str]()

    def asking() -> None:
        while not stop.is_set():
            answers[ask(port)] += 1
            time.sleep(0.01)

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(asking)
        try:
            yield answers
        finally:
            stop.set()
        asked.result(timeout=30)


def test_answers_come_as_weighed_and_none_is_lost(
    gateway_port: int, node: str, story: Story, start_operator: Any
) -> None:
    address = outside_address()
    at = {"podIP": address, "podIPs": [{"ip": address}]}
    with pod_server(says(b"old"), address) as old, pod_server(says(b"new"), address) as new:

        def frontends(port: int) -> dict[str, Any]:
            return {"openai": {"port": port}}

        start_operator(NACELLE_RUNTIME_IMAGES=IMAGES)
        story.create(engine("1"), engine("2"))
        story.create(serve("1", rollout=CANARY, frontends=frontends(old.port)))
        rolled(story, at, node, a=1)
        story.reaches("Serving")
        story.until(lambda: _answers(gateway_port) == "old")
        with client(gateway_port) as answers:
            story.edit(
                engine={"engineRef": {"name": "eng-" + "2" * 16}}, frontends=frontends(new.port)
            )
            rolled(story, at, node, a=1, b=1)
            story.reaches("WaitingForPromotion")
            story.until(lambda: abs(shares(gateway_port)["new"] - 20) <= 2)
            story.edit(rollout={"promote": "2"})
            rolled(story, at, node, b=1)
            story.reaches("Serving")
            story.until(lambda: shares(gateway_port) == {"new": 100})
        assert set(answers) == {"old", "new"}


def _answers(port: int) -> str:
    """An answer, or empty while the Gateway has none."""
    try:
        return ask(port)
    except OSError:
        return ""
