"""An InferencePool on a real API server, with its published fields and without the kind."""

from collections.abc import Iterator
from typing import Any

import foreign_kinds
import inference_extension
import pytest
from control_plane import ControlPlane
from serving_story import API, IMAGES, Story, engine, serve

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.objects.inference_pool import inference_pool
from nacelle_operator.reconcile import is_contained

pytestmark = pytest.mark.slow

POOLS = "inference.networking.k8s.io/v1", "inferencepools"
WISH = {"endpointPickerRef": {"name": "picker"}}


@pytest.fixture
def extension_installed(control_plane: ControlPlane, until: Any) -> Iterator[None]:
    with foreign_kinds.defined(control_plane, until, inference_extension.definition()):
        yield


def test_it_is_kept_as_it_was_sent_taken_and_gone_with_the_wish(
    extension_installed: None, story: Story, start_operator: Any
) -> None:
    start_operator(NACELLE_RUNTIME_IMAGES=IMAGES)
    story.create(engine("1"), serve("1", inferencePool=WISH))
    story.run_pods(1)
    story.until(lambda: story.namespace.list(*POOLS))
    resource = InferenceDeployment.parse(story.namespace.get(API, "inferencedeployments", "chat"))
    assert resource.spec.inference_pool
    sent = inference_pool(resource, resource.spec.inference_pool, "a")
    made = story.namespace.get(*POOLS, "chat")
    assert is_contained(sent, made), "else every look writes it"
    story.reaches("InferencePoolPending", "InferencePool")

    accepted = {"type": "Accepted", "status": "True", "reason": "Accepted", "message": ""}
    path = story.namespace.path(*POOLS, "chat") + "/status"
    body = {"status": {"parents": [{"conditions": [accepted]}]}}
    story.namespace.plane.call("PATCH", path, body, "application/merge-patch+json")
    # An edit brings the next look sooner than the minute would.
    story.edit(inferencePool={"endpointPickerRef": {"failureMode": "FailOpen"}})
    story.reaches("InferencePoolInPlace", "InferencePool")

    def mode() -> str:
        picker = story.namespace.get(*POOLS, "chat")["spec"]["endpointPickerRef"]
        return str(picker["failureMode"])

    # Another look may have come before the edit's.
    story.until(lambda: mode() == "FailOpen")

    story.edit(inferencePool=None)
    story.until(lambda: not story.namespace.list(*POOLS))


def test_without_the_kind_it_is_refused_by_name_and_all_else_goes_on(
    story: Story, start_operator: Any
) -> None:
    start_operator(NACELLE_RUNTIME_IMAGES=IMAGES)
    story.create(engine("1"), serve("1", inferencePool=WISH))
    story.run_pods(1)
    story.reaches("InferencePoolUnavailable", "InferencePool")
    story.reaches("Serving")
