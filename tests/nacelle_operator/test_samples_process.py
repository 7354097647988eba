"""Every sample on a real API server, each in a namespace of its own, until all of it is Ready."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import foreign_kinds
import pytest
import yaml
from build_story import claim, condition, ended, published
from control_plane import ControlPlane
from rollout_story import ROUTES, accept_route, bind
from serving_golden import SAMPLES
from serving_story import API, IMAGES, running

from nacelle_engine.result import Prepared, Result

pytestmark = pytest.mark.slow
PREPARED = Result(prepared=Prepared(until="convert")).message()
PLURALS = {
    "EngineBuild": "enginebuilds",
    "Engine": "engines",
    "InferenceDeployment": "inferencedeployments",
}


@pytest.fixture
def foreign(control_plane: ControlPlane, until: Callable[..., Any]) -> Iterator[None]:
    """The kinds that samples ask for and a cluster may not know."""
    routes, monitors = foreign_kinds.GATEWAY_API, foreign_kinds.PROMETHEUS_OPERATOR
    with (
        foreign_kinds.installed(control_plane, until, routes, "httproutes"),
        foreign_kinds.installed(control_plane, until, monitors, "podmonitors"),
    ):
        yield


def test_every_sample_becomes_ready(
    foreign: None,
    node: str,
    namespace: Any,
    control_plane: ControlPlane,
    start_operator: Callable[..., Any],
    until: Callable[..., Any],
) -> None:
    start_operator(
        NACELLE_NAMESPACES="", NACELLE_RUNTIME_IMAGES=IMAGES, NACELLE_TRITON_IMAGES=IMAGES
    )
    places = {}
    for sample in sorted(SAMPLES.glob("*.yaml")):
        place = replace(namespace, name=f"sample-{sample.stem}")
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": place.name}}
        control_plane.call("POST", "/api/v1/namespaces", made)
        for name in ("models", "engines"):
            place.create("persistentvolumeclaims", claim(name))
        for manifest in yaml.safe_load_all(sample.read_text()):
            place.create(PLURALS[manifest["kind"]], manifest)
        places[sample.stem] = place

    def all_are_ready() -> bool:
        waiting = {name: not_ready(place) for name, place in places.items()}
        for name, place in places.items():
            if waiting[name]:
                go_on(place, node)
        left.clear()
        left.update({name: found for name, found in waiting.items() if found})
        return not left

    left: dict[str, list[Any]] = {}
    try:
        until(all_are_ready, seconds=240)
    except TimeoutError:
        raise AssertionError(json.dumps(left, indent=1)) from None
    finally:
        for place in places.values():
            control_plane.remove_namespace(place.name)


def not_ready(place: Any) -> list[Any]:
    """What a namespace's resources say that are not Ready."""
    found = [each for plural in PLURALS.values() for each in place.list(API, plural)]
    judged = [(each["kind"], condition(each, "Ready")) for each in found]
    return [(kind, ready) for kind, ready in judged if ready.get("status") != "True"]


def go_on(place: Any, node: str) -> None:
    """What nodes and controllers do to the pods and routes that wait."""
    for pod in place.list("v1", "pods"):
        meta, phase = pod["metadata"], pod["status"].get("phase")
        if phase != "Pending" or meta.get("deletionTimestamp"):
            continue
        labels = meta["labels"]
        part = labels["app.kubernetes.io/component"]
        if part == "builder" and labels["nacelle.dev/step"] == "prepare":
            place.set_pod_status(meta["name"], ended(PREPARED))
        elif part == "builder":
            message = published(labels["nacelle.dev/request-key"] * 2)
            place.set_pod_status(meta["name"], ended(message))
        elif part == "inspector":
            place.set_pod_status(meta["name"], ended(published()))
        else:
            bind(place, meta["name"], node)
            place.set_pod_status(meta["name"], serving(pod))
    for route in place.list(*ROUTES):
        if not route.get("status", {}).get("parents", [{}])[0].get("conditions"):
            accept_route(place, route["metadata"]["name"])


def serving(pod: dict[str, Any]) -> dict[str, Any]:
    """The status of a pod all of whose containers answer."""
    status = running(True)
    (first,) = status["containerStatuses"]
    containers = pod["spec"]["containers"]
    status["containerStatuses"] = [
        {**first, "name": each["name"], "image": each["image"]} for each in containers
    ]
    return status
