"""An InferencePool's life: made, told of, following the Service, and gone again."""

from typing import Any

import pytest
from serving_cases import LATER, NOW, OLD, deployment, surroundings
from serving_cluster import at_rest, edited

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.conditions import Verdict, find
from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.plan import plan
from nacelle_operator.deployment.unwatched import REMEMBERED
from nacelle_operator.kinds import HTTP_ROUTE, INFERENCE_POOL, UNWATCHED
from nacelle_operator.objects.inference_pool import inference_pool
from nacelle_operator.plan import Event
from nacelle_operator.seen import Seen

NAME = "InferencePool chat"
PLACE = ("InferencePool", "chat")
WISH = {"endpointPickerRef": {"name": "picker"}}


def pooled(**spec: Any) -> InferenceDeployment:
    return deployment(**{"inferencePool": WISH, **spec})


def made(resource: InferenceDeployment, slot: Any = "a") -> dict[str, Any]:
    assert resource.spec.inference_pool
    return inference_pool(resource, resource.spec.inference_pool, slot)


def present(*conditions: tuple[str, str, str, str], **metadata: Any) -> dict[str, Any]:
    """The pool as it was made, with what one Gateway says of it."""
    pool = made(pooled())
    pool["metadata"] |= {"uid": "p-uid", **metadata}
    fields = ("type", "status", "reason", "message")
    said = [dict(zip(fields, c, strict=True)) for c in conditions]
    return {**pool, "status": {"parents": [{"conditions": said}] if said else []}}


def seen(*conditions: tuple[str, str, str, str], **metadata: Any) -> dict[str, Any]:
    return {"unwatched": {INFERENCE_POOL: Seen(True, present(*conditions, **metadata))}}


ACCEPTED = ("Accepted", "True", "Accepted", "m")
UNKNOWN = (
    "False",
    reasons.INFERENCE_POOL_UNAVAILABLE,
    "the cluster does not know inference.networking.k8s.io/v1 InferencePool: install the Gateway "
    "API's inference extension, or take spec.inferencePool away",
)
CASES: dict[str, tuple[InferenceDeployment, dict[str, Any], Any]] = {
    "not asked for": (deployment(), {}, None),
    "no such kind": (pooled(), {"unwatched": {INFERENCE_POOL: Seen(False)}}, UNKNOWN),
    "no engine yet": (
        pooled(),
        {"engines": {}},
        (
            "Unknown",
            reasons.INFERENCE_POOL_PENDING,
            f"{NAME} is made as soon as there is an engine to serve",
        ),
    ),
    "not made yet": (
        pooled(),
        {},
        ("Unknown", reasons.INFERENCE_POOL_PENDING, f"{NAME} is being made"),
    ),
    "somebody else's": (
        pooled(),
        seen(ownerReferences=[]),
        (
            "False",
            reasons.INFERENCE_POOL_NAME_TAKEN,
            f"{NAME} is not this resource's: delete it, or take spec.inferencePool away",
        ),
    ),
    "no Gateway yet": (
        pooled(),
        seen(),
        (
            "Unknown",
            reasons.INFERENCE_POOL_PENDING,
            f"{NAME} waits to be taken by a Gateway: see that an HTTPRoute leads to it",
        ),
    ),
    "taken": (
        pooled(),
        seen(ACCEPTED, ("ResolvedRefs", "True", "ResolvedRefs", "m")),
        ("True", reasons.INFERENCE_POOL_IN_PLACE, f"{NAME} is taken by a Gateway"),
    ),
    "no picker": (
        pooled(),
        seen(ACCEPTED, ("ResolvedRefs", "False", "InvalidExtensionRef", "no Service picker")),
        (
            "False",
            reasons.INFERENCE_POOL_NOT_ACCEPTED,
            f"{NAME}: InvalidExtensionRef: no Service picker",
        ),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_told(case: str) -> None:
    resource, fields, wanted = CASES[case]
    status = plan(resource, surroundings(OLD, **fields), NOW).status
    assert status
    told = [c for c in status["conditions"] if c["type"] == "InferencePool"]
    found = [Verdict(c["type"], c["status"], c["reason"], c["message"]) for c in told]
    assert found == ([Verdict("InferencePool", *wanted)] if wanted else [])


@pytest.mark.parametrize("slot", ["a", "b", None])
def test_the_whole_object(slot: Any) -> None:
    wish = {"endpointPickerRef": {"name": "picker", "port": 9999, "failureMode": "FailOpen"}}
    resource = pooled(inferencePool=wish, frontends={"openai": {"port": 8001}})
    whole = made(resource, slot)
    assert whole["metadata"]["ownerReferences"][0]["uid"] == "d-uid"
    assert (whole["apiVersion"], whole["kind"], whole["spec"]) == (
        "inference.networking.k8s.io/v1",
        "InferencePool",
        {
            "selector": {
                "matchLabels": {
                    "nacelle.dev/inference-deployment": "chat",
                    **({"nacelle.dev/slot": slot} if slot else {}),
                }
            },
            "targetPorts": [{"number": 8001}],
            "endpointPickerRef": {
                "group": "",
                "kind": "Service",
                "name": "picker",
                "port": {"number": 9999},
                "failureMode": "FailOpen",
            },
        },
    )


def test_without_the_kind_everything_else_goes_on_and_it_proceeds_when_it_comes() -> None:
    world = at_rest(deployment(replicas=2))
    world.unknown.add(INFERENCE_POOL)
    world.resource = edited(world.resource, inferencePool=WISH)
    first = world.reconcile(LATER)
    assert Event("Warning", UNKNOWN[1], UNKNOWN[2]) in first.events
    rest = world.settle(LATER)
    statuses = {c.type: c.status for c in world.resource.status.conditions}
    assert statuses == {"Ready": "True", "Available": "True", "InferencePool": "False"}
    assert rest.requeue_seconds == 60.0, "no watch tells that the kind has come"
    world.unknown.clear()
    world.settle(LATER)
    assert PLACE in world.objects


def test_it_follows_the_service_from_slot_to_slot() -> None:
    world = at_rest(pooled(replicas=2, rollout={"strategy": "BlueGreen"}))

    def selectors() -> list[Any]:
        pool = world.objects[PLACE]["spec"]["selector"]["matchLabels"]
        return [pool, world.objects["Service", "chat"]["spec"]["selector"]]

    before = selectors()
    assert before[0] == before[1]
    world.resource = edited(world.resource, runtime={"maxBatchSize": 1})
    for _ in range(6):
        world.reconcile(LATER)
        pool, service = selectors()
        assert pool == service
        world.roll()
    assert selectors()[0] != before[0]


def test_it_goes_with_the_wish() -> None:
    world = at_rest(pooled())
    annotations = world.objects["Service", "chat"]["metadata"]["annotations"]
    assert annotations == {"nacelle.dev/inference-pool": "chat"}
    world.resource = edited(world.resource, inferencePool=None)
    assert world.reconcile(LATER).requeue_seconds == 5.0, "no watch tells that it has gone"
    world.settle(LATER)
    assert PLACE not in world.objects
    assert "annotations" not in world.objects["Service", "chat"]["metadata"]
    assert find(world.resource.status.conditions, "InferencePool") is None


def test_a_strangers_is_left_alone_with_or_without_the_wish() -> None:
    for resource in (pooled(), deployment()):
        planned = plan(resource, surroundings(OLD, **seen(ownerReferences=[])), NOW)
        touched = [m for m in (*planned.objects, *planned.creates) if m["kind"] == PLACE[0]]
        assert (touched, planned.deletes) == ([], ())


def test_whatever_nobody_watches_is_remembered() -> None:
    """A route is remembered by the Services of slots that it needs in any case."""
    assert {each.kind for each in REMEMBERED} | {HTTP_ROUTE} == set(UNWATCHED)
    assert len({each.annotation for each in REMEMBERED}) == len(REMEMBERED)
