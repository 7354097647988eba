"""Whether an InferencePool is made, and what is told of it: ordered lists of checks."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.conditions import POOLED, Verdict
from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.decision import Decision, let_go, written
from nacelle_operator.deployment.finding import Finding, first_finding
from nacelle_operator.deployment.move import Move
from nacelle_operator.deployment.observe import Observed
from nacelle_operator.deployment.optional import OptionalCase, optional_case
from nacelle_operator.kinds import INFERENCE_POOL
from nacelle_operator.objects.inference_pool import inference_pool


def decide_inference_pool(
    resource: InferenceDeployment, observed: Observed, move: Move | None
) -> Decision:
    """The pool of the pods that the Service leads to; nobody else's is touched."""
    wish = resource.spec.inference_pool
    case = optional_case(resource, observed, INFERENCE_POOL, is_serving=move is not None)
    if wish is None:
        return let_go(resource, case.present)
    refusal = first_finding(REFUSALS, case)
    verdict = _verdict(case, refusal or first_finding(TOLD, case))
    if refusal or move is None:
        return Decision(verdict=verdict)
    return written(inference_pool(resource, wish, move.selected_slot), case.present, verdict)


def kind_is_unknown(case: OptionalCase) -> Finding | None:
    """The cluster has no InferencePool."""
    if case.is_known:
        return None
    return Finding(
        reasons.INFERENCE_POOL_UNAVAILABLE,
        "the cluster does not know inference.networking.k8s.io/v1 InferencePool: install the "
        "Gateway API's inference extension, or take spec.inferencePool away",
        stalled=True,
    )


def name_is_taken(case: OptionalCase) -> Finding | None:
    """A pool of that name is somebody else's."""
    if not case.is_anothers:
        return None
    return Finding(
        reasons.INFERENCE_POOL_NAME_TAKEN,
        f"{case.name} is not this resource's: delete it, or take spec.inferencePool away",
        stalled=True,
    )


def nothing_is_made(case: OptionalCase) -> Finding | None:
    """There is no pool yet."""
    if case.present is not None:
        return None
    return Finding(reasons.INFERENCE_POOL_PENDING, case.awaited)


def gateway_refuses(case: OptionalCase) -> Finding | None:
    """A Gateway does not take the pool, or finds no endpoint picker."""
    for seen in _conditions(case):
        if seen["type"] in ("Accepted", "ResolvedRefs") and seen["status"] == "False":
            said = f"{case.name}: {seen.get('reason', '')}: {seen.get('message', '')}"
            return Finding(reasons.INFERENCE_POOL_NOT_ACCEPTED, said, stalled=True)
    return None


def gateway_is_silent(case: OptionalCase) -> Finding | None:
    """No Gateway has said that it takes the pool."""
    if any(seen["type"] == "Accepted" and seen["status"] == "True" for seen in _conditions(case)):
        return None
    return Finding(
        reasons.INFERENCE_POOL_PENDING,
        f"{case.name} waits to be taken by a Gateway: see that an HTTPRoute leads to it",
    )


REFUSALS: tuple[Callable[[OptionalCase], Finding | None], ...] = (kind_is_unknown, name_is_taken)
"""Before a pool is made or changed."""

TOLD: tuple[Callable[[OptionalCase], Finding | None], ...] = (
    nothing_is_made,
    gateway_refuses,
    gateway_is_silent,
)
"""Of a pool that is as it is wanted."""


def _conditions(case: OptionalCase) -> Iterator[Mapping[str, Any]]:
    """What each Gateway says of the present pool."""
    parents = ((case.present or {}).get("status") or {}).get("parents") or ()
    return (condition for parent in parents for condition in parent.get("conditions") or ())


def _verdict(case: OptionalCase, finding: Finding | None) -> Verdict:
    if finding is None:
        said = f"{case.name} is taken by a Gateway"
        return Verdict(POOLED, "True", reasons.INFERENCE_POOL_IN_PLACE, said)
    pending = finding.reason == reasons.INFERENCE_POOL_PENDING
    return Verdict(POOLED, "Unknown" if pending else "False", finding.reason, finding.message)
