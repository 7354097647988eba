"""Rollouts on a real API server: begun, looked at, their pods told to run."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from control_plane import ControlPlane
from serving_story import API, IMAGES, Story, engine, running, serve

ROUTES = "gateway.networking.k8s.io/v1", "httproutes"
SECOND = {"engineRef": {"name": "eng-" + "2" * 16}}
WAITS = {"strategy": "Canary", "canary": {"steps": [{"weightPercent": 33}]}}
GATE = {"parentRefs": [{"name": "gate"}]}
ROUTED = {"strategy": "Canary", "canary": {**WAITS["canary"], "route": GATE}}  # type: ignore[dict-item]


def selected(story: Story) -> str | None:
    """The slot that the Service selects; None: both."""
    found = story.namespace.get("v1", "services", "chat")
    slot: str | None = found["spec"]["selector"].get("nacelle.dev/slot")
    return slot


def by_slot(pods: dict[str, dict[str, Any]]) -> dict[str, int]:
    slots = [pod["metadata"]["labels"]["nacelle.dev/slot"] for pod in pods.values()]
    return {slot: slots.count(slot) for slot in sorted(set(slots))}


def run_all(
    story: Story, status: dict[str, Any] | None = None, node: str | None = None
) -> dict[str, int]:
    """Make every pod ready that is not, with this beside it; the ready ones found, by slot.

    Found at one look: a pod that comes after it is none of these. A pod becomes an endpoint of its
    Services only on a node.
    """
    pods = story.pods()
    for name, pod in pods.items():
        if node and not pod["spec"].get("nodeName"):
            bind(story.namespace, name, node)
    waiting = [name for name, pod in pods.items() if not _is_ready(pod)]
    for name in waiting:
        story.namespace.set_pod_status(name, {**running(True), **(status or {})})
    return by_slot({name: pod for name, pod in pods.items() if name not in waiting})


@contextlib.contextmanager
def a_node(plane: ControlPlane) -> Iterator[str]:
    """A node that pods can be put on; gives its name."""
    name = "rollout-test"
    plane.call(
        "POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
    )
    try:
        yield name
    finally:
        plane.call("DELETE", f"/api/v1/nodes/{name}")


def bind(namespace: Any, pod: str, node: str) -> None:
    """Put a pod on a node, as a scheduler does."""
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod}, "target": target}
    path = namespace.path("v1", "pods", pod) + "/binding"
    namespace.plane.call("POST", path, binding)


def accept_route(namespace: Any, name: str) -> None:
    """What a Gateway's controller writes once it takes a route."""
    taken = {
        "type": "Accepted",
        "status": "True",
        "reason": "Accepted",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    place = *ROUTES, name
    (parent, *_) = namespace.get(*place)["spec"]["parentRefs"]
    told = {"parentRef": parent, "controllerName": "a.test/gate", "conditions": [taken]}
    status = {"status": {"parents": [told]}}
    path = namespace.path(*place) + "/status"
    namespace.plane.call("PATCH", path, status, "application/merge-patch+json")


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def rolled(
    story: Story, status: dict[str, Any] | None = None, node: str | None = None, **pods: int
) -> None:
    """Wait until the slots have these pods, all of them made ready on the way."""
    story.until(lambda: run_all(story, status, node) == pods)


def edit_rollout(story: Story, **fields: Any) -> None:
    story.edit(rollout=fields)


def begin(story: Story, start_operator: Callable[..., Any], replicas: int, **rollout: Any) -> Any:
    """The first engine, served; then the second one is asked for. Gives the operator."""
    operator = start_operator(NACELLE_RUNTIME_IMAGES=IMAGES)
    story.create(engine("1"), engine("2"), serve("1", replicas=replicas, rollout=rollout))
    story.run_pods(replicas)
    story.reaches("Serving")
    assert selected(story) == "a"
    story.edit(engine=SECOND)
    return operator


def ready(story: Story) -> dict[str, Any]:
    found = story.namespace.get(API, "inferencedeployments", "chat")
    return next(c for c in found["status"]["conditions"] if c["type"] == "Ready")
