"""The route and its Services: they agree with each other and with the pods, whatever is edited."""

from typing import Any

from serving_cases import IMAGES, deployment, engine

from nacelle_engine.abi import ABI
from nacelle_operator.objects.controller_revision import (
    Revision,
    controller_revision,
    read_revision,
)
from nacelle_operator.objects.http_route import http_route
from nacelle_operator.objects.memory import Memory
from nacelle_operator.objects.serving_pod import Served, pod_template
from nacelle_operator.objects.slot_service import slot_service

PARENT = {"name": "gate", "namespace": "gateways", "sectionName": "web"}
ROUTE = {"parentRefs": [PARENT], "hostnames": ["chat.example.com"]}


def resource(port: int = 8000) -> Any:
    canary = {"steps": [{"weightPercent": 10}], "route": ROUTE}
    rollout = {"strategy": "Canary", "canary": canary}
    return deployment(rollout=rollout, frontends={"openai": {"port": port}})


def route(port: int = 8000) -> dict[str, Any]:
    made = resource(port)
    return http_route(made, made.spec.rollout.canary.route, {"a": 90, "b": 10})


def test_the_route_names_the_services_and_weighs_them() -> None:
    spec = route()["spec"]
    assert spec["hostnames"] == ["chat.example.com"]
    assert spec["parentRefs"] == [
        {"group": "gateway.networking.k8s.io", "kind": "Gateway", **PARENT}
    ]
    (rule,) = spec["rules"]
    for backend, slot, weight in zip(rule["backendRefs"], ("a", "b"), (90, 10), strict=True):
        service = slot_service(resource(), slot)
        assert backend["name"] == service["metadata"]["name"] == f"chat-{slot}"
        assert [port["port"] for port in service["spec"]["ports"]] == [backend["port"]]
        assert backend["weight"] == weight


def test_another_port_changes_neither_the_route_nor_its_services() -> None:
    """They cannot change in one moment: in between the Gateway would answer 500."""
    assert route(9000) == route(8000)
    assert slot_service(resource(9000), "a") == slot_service(resource(8000), "a")


def test_a_slots_service_finds_its_pods_alone() -> None:
    for slot, other in (("a", "b"), ("b", "a")):
        served = Served(engine(), IMAGES[ABI], slot, 1)
        labels = pod_template(resource(), served)["metadata"]["labels"].items()
        mine, theirs = slot_service(resource(), slot), slot_service(resource(), other)
        assert mine["spec"]["selector"].items() <= labels
        assert not theirs["spec"]["selector"].items() <= labels


def test_a_memory_is_read_as_it_was_kept_and_nonsense_is_none() -> None:
    kept = Memory(outcome="Failed", step=2, baseline=(1, 2, 3, 4), is_measured=True, terms="t")
    revision = Revision(3, "b", "eng-x", "f", {}, kept)
    manifest = controller_revision(resource(), revision)
    assert read_revision(manifest) == revision
    for nonsense in ("[]", "{", '{"other": 1}'):
        manifest["metadata"]["annotations"] = {"nacelle.dev/rollout": nonsense}
        assert read_revision(manifest).memory == Memory()
