"""Rollouts by the operator as a process: real Deployments and Services, pods told to run."""

from collections.abc import Callable, Iterator
from typing import Any

import gateway_api
import pytest
from control_plane import ControlPlane
from serving_story import API, IMAGES, Story, engine, running, serve

from nacelle_engine.errors import TargetMismatch
from nacelle_engine.result import Failure, Result
from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.objects.http_route import http_route
from nacelle_operator.reconcile import is_contained

pytestmark = pytest.mark.slow

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


def by_slot(story: Story) -> dict[str, int]:
    slots = [pod["metadata"]["labels"]["nacelle.dev/slot"] for pod in story.pods().values()]
    return {slot: slots.count(slot) for slot in sorted(set(slots))}


def run_all(story: Story) -> None:
    """Make every pod ready that is not."""
    for name, pod in story.pods().items():
        conditions = pod["status"].get("conditions", ())
        if not any(c["type"] == "Ready" and c["status"] == "True" for c in conditions):
            story.namespace.set_pod_status(name, running(True))


def rolled(story: Story, **pods: int) -> None:
    """Wait until the slots have these pods, all of them made ready on the way."""
    story.until(lambda: (run_all(story), by_slot(story))[1] == pods)


def edit_rollout(story: Story, **fields: Any) -> None:
    story.edit(rollout=fields)


def begin(story: Story, start_operator: Callable[..., Any], replicas: int, **rollout: Any) -> None:
    """The first engine, served; then the second one is asked for."""
    start_operator(NACELLE_RUNTIME_IMAGES=IMAGES)
    story.create(engine("1"), engine("2"), serve("1", replicas=replicas, rollout=rollout))
    story.run_pods(replicas)
    story.reaches("Serving")
    assert selected(story) == "a"
    story.edit(engine=SECOND)


def test_blue_green_switches_when_all_new_pods_are_ready(story: Story, start_operator: Any) -> None:
    green = {"scaleDownDelay": "3s"}
    begin(story, start_operator, 2, strategy="BlueGreen", blueGreen=green)
    story.until(lambda: by_slot(story) == {"a": 2, "b": 2})
    one = next(
        n for n, p in story.pods().items() if p["metadata"]["labels"]["nacelle.dev/slot"] == "b"
    )
    story.namespace.set_pod_status(one, running(True))
    story.until(lambda: "1 of 2 pods of revision 2 are ready" in ready(story)["message"])
    assert selected(story) == "a"
    run_all(story)
    story.until(lambda: selected(story) == "b")
    story.until(lambda: by_slot(story) == {"b": 2})
    status = story.reaches("Serving")["status"]
    assert status["currentEngine"] == SECOND["engineRef"]["name"]
    assert [r["outcome"] for r in status["rollout"]["history"]] == ["Serving", "Replaced"]
    deployments = {d["metadata"]["name"] for d in story.namespace.list("apps/v1", "deployments")}
    assert deployments == {"chat-b"}


def ready(story: Story) -> dict[str, Any]:
    found = story.namespace.get(API, "inferencedeployments", "chat")
    return next(c for c in found["status"]["conditions"] if c["type"] == "Ready")


def test_a_canary_by_numbers_waits_and_goes_on(story: Story, start_operator: Any) -> None:
    begin(story, start_operator, 3, **WAITS)
    rolled(story, a=2, b=1)
    story.reaches("WaitingForPromotion")
    assert selected(story) is None
    edit_rollout(story, promote="2")
    rolled(story, b=3)
    story.reaches("Serving")
    assert selected(story) == "b"


def test_a_canary_that_is_refused_its_bundle_is_taken_back(
    story: Story, start_operator: Any
) -> None:
    begin(story, start_operator, 3, **WAITS)
    old = {n for n, p in story.pods().items() if p["metadata"]["labels"]["nacelle.dev/slot"] == "a"}
    (new,) = story.until(lambda: (p := story.pods().keys() - old) and p)
    message = Result(failure=Failure(code="TargetMismatch", message="no avx512f here")).message()
    end = {"exitCode": TargetMismatch.exit_code, "reason": "Error", "message": message}
    story.namespace.set_pod_status(new, running(False, terminated=end))
    status = story.reaches("BundleRefused")["status"]
    story.until(lambda: story.pods().keys() == old)
    assert selected(story) == "a"
    assert status["currentEngine"] != SECOND["engineRef"]["name"]
    conditions = {c["type"]: c for c in status["conditions"]}
    assert conditions["Available"]["status"] == "True"
    assert conditions["Stalled"]["message"] == (
        f"revision 2 with Engine eng-{'2' * 16} failed, and revision 1 with Engine eng-{'1' * 16} "
        "serves on; change the spec or the engine, and it is tried again: "
        f"pod {new}: TargetMismatch: no avx512f here"
    )
    story.edit(engine={"engineRef": {"name": "eng-" + "1" * 16}})
    story.reaches("Serving")
    assert story.pods().keys() == old


def test_a_killed_operator_goes_on_with_the_step_it_was_at(
    story: Story, start_operator: Any
) -> None:
    begin(story, start_operator, 3, **WAITS)
    rolled(story, a=2, b=1)
    story.reaches("WaitingForPromotion")
    before = story.pods().keys()
    # Status is a report: losing it loses nothing.
    path = story.namespace.path(API, "inferencedeployments", "chat") + "/status"
    story.namespace.plane.call(
        "PATCH", path, {"status": {"rollout": None}}, "application/merge-patch+json"
    )
    story.until(
        lambda: story.namespace.get(API, "inferencedeployments", "chat")["status"].get("rollout")
    )
    story.reaches("WaitingForPromotion")
    assert story.pods().keys() == before
    edit_rollout(story, promote="2/1")
    rolled(story, b=3)
    story.reaches("Serving")


def test_without_the_gateway_api_a_route_is_refused_by_name(
    story: Story, start_operator: Any
) -> None:
    start_operator(NACELLE_RUNTIME_IMAGES=IMAGES)
    story.create(engine("1"), serve("1", rollout=ROUTED))
    story.run_pods(1)
    found = story.reaches("RouteUnavailable")
    assert {c["type"]: c["status"] for c in found["status"]["conditions"]} == {
        "Ready": "False",
        "Available": "True",
        "Stalled": "True",
    }
    story.edit(rollout={"strategy": "RollingUpdate", "canary": None})
    story.reaches("Serving")
    story.until(lambda: len(story.namespace.list("v1", "services")) == 1)


@pytest.fixture
def gateway_api_installed(control_plane: ControlPlane, until: Any) -> Iterator[None]:
    """The Gateway API's HTTPRoute, with no Gateway: the test speaks for it."""
    plural = "customresourcedefinitions"
    path = f"/apis/apiextensions.k8s.io/v1/{plural}"
    made = control_plane.call("POST", path, gateway_api.definition(ROUTES[1]))

    def is_served() -> bool:
        found = control_plane.call("GET", f"{path}/{made['metadata']['name']}")
        conditions = found.get("status", {}).get("conditions", ())
        return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)

    until(is_served)
    yield
    control_plane.call("DELETE", f"{path}/{made['metadata']['name']}")
    names = lambda: {d["metadata"]["name"] for d in control_plane.call("GET", path)["items"]}  # noqa: E731
    until(lambda: made["metadata"]["name"] not in names())


def weights(story: Story) -> dict[str, int]:
    found = story.namespace.get(*ROUTES, "chat")
    (rule,) = found["spec"]["rules"]
    return {backend["name"][-1]: backend["weight"] for backend in rule["backendRefs"]}


def accept(story: Story) -> None:
    """What a Gateway's controller writes once it takes the route."""
    taken = {
        "type": "Accepted",
        "status": "True",
        "reason": "Accepted",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    parent = {"parentRef": GATE["parentRefs"][0], "controllerName": "a.test/gate"}
    status = {"parents": [{**parent, "conditions": [taken]}]}
    path = story.namespace.path(*ROUTES, "chat") + "/status"
    kind = "application/merge-patch+json"
    story.namespace.plane.call("PATCH", path, {"status": status}, kind)


def test_a_route_gets_the_weights_and_goes_with_the_wish(
    gateway_api_installed: None, story: Story, start_operator: Any
) -> None:
    start_operator(NACELLE_RUNTIME_IMAGES=IMAGES)
    story.create(engine("1"), engine("2"), serve("1", replicas=3, rollout=ROUTED))
    story.run_pods(3)
    story.reaches("RoutePending")
    assert weights(story) == {"a": 100, "b": 0}
    accept(story)
    found = story.reaches("Serving")
    resource = InferenceDeployment.parse(found)
    canary = resource.spec.rollout.canary
    assert canary and canary.route
    sent = http_route(resource, canary.route, {"a": 100})
    assert is_contained(sent, story.namespace.get(*ROUTES, "chat")), "else every look writes it"

    story.edit(engine=SECOND)
    rolled(story, a=3, b=1)
    story.reaches("WaitingForPromotion")
    story.until(lambda: weights(story) == {"a": 67, "b": 33})
    assert selected(story) == "a"
    edit_rollout(story, promote="2")
    rolled(story, b=3)
    story.reaches("Serving")
    assert weights(story) == {"a": 0, "b": 100}

    story.edit(rollout={"strategy": "RollingUpdate", "canary": None, "promote": None})
    story.until(lambda: not story.namespace.list(*ROUTES))
    story.until(lambda: len(story.namespace.list("v1", "services")) == 1)
    story.reaches("Serving")
