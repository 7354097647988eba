"""A canary's route on a real API server, with the Gateway API's own kind and without it."""

from collections.abc import Iterator
from typing import Any

import foreign_kinds
import pytest
from control_plane import ControlPlane
from rollout_story import ROUTED, ROUTES, SECOND, accept_route, edit_rollout, rolled, selected
from serving_story import IMAGES, Story, engine, serve

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.objects.http_route import http_route
from nacelle_operator.reconcile import is_contained

pytestmark = pytest.mark.slow


@pytest.fixture
def gateway_api_installed(control_plane: ControlPlane, until: Any) -> Iterator[None]:
    """The Gateway API's HTTPRoute, with no Gateway: the test speaks for it."""
    with foreign_kinds.installed(control_plane, until, foreign_kinds.GATEWAY_API, ROUTES[1]):
        yield


def weights(story: Story) -> dict[str, int]:
    found = story.namespace.get(*ROUTES, "chat")
    (rule,) = found["spec"]["rules"]
    return {backend["name"][-1]: backend["weight"] for backend in rule["backendRefs"]}


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


def test_a_route_gets_the_weights_and_goes_with_the_wish(
    gateway_api_installed: None, node: str, story: Story, start_operator: Any
) -> None:
    start_operator(NACELLE_RUNTIME_IMAGES=IMAGES)
    story.create(engine("1"), engine("2"), serve("1", replicas=3, rollout=ROUTED))
    story.run_pods(3)
    story.reaches("RoutePending")
    assert weights(story) == {"a": 100, "b": 0}
    accept_route(story.namespace, "chat")
    found = story.reaches("Serving")
    resource = InferenceDeployment.parse(found)
    canary = resource.spec.rollout.canary
    assert canary and canary.route
    sent = http_route(resource, canary.route, {"a": 100})
    assert is_contained(sent, story.namespace.get(*ROUTES, "chat")), "else every look writes it"

    story.edit(engine=SECOND)
    rolled(story, node=node, a=3, b=1)
    story.reaches("WaitingForPromotion")
    story.until(lambda: weights(story) == {"a": 67, "b": 33})
    assert selected(story) == "a"
    edit_rollout(story, promote="2")
    rolled(story, node=node, b=3)
    story.reaches("Serving")
    assert weights(story) == {"a": 0, "b": 100}

    story.edit(rollout={"strategy": "RollingUpdate", "canary": None, "promote": None})
    story.until(lambda: not story.namespace.list(*ROUTES))
    story.until(lambda: len(story.namespace.list("v1", "services")) == 1)
    story.reaches("Serving")
