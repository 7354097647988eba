"""What stands against the HTTPRoute that weighs requests: an ordered list of checks."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.api.rollout import CanaryRoute
from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.finding import Finding, first_finding
from nacelle_operator.deployment.observe import Observed
from nacelle_operator.kinds import HTTP_ROUTE
from nacelle_operator.objects.owner import is_controlled_by
from nacelle_operator.plan import KubernetesObject


@dataclass(frozen=True)
class Case:
    """The resource, whether the cluster knows routes, and the one of that name."""

    resource: InferenceDeployment
    is_known: bool
    present: KubernetesObject | None

    @property
    def name(self) -> str:
        """The route, as messages name it."""
        return f"HTTPRoute {self.resource.metadata.name}"

    def conditions(self) -> Iterator[Mapping[str, Any]]:
        """What each Gateway says of the present route."""
        parents = ((self.present or {}).get("status") or {}).get("parents") or ()
        return (condition for parent in parents for condition in parent.get("conditions") or ())


def wanted_route(resource: InferenceDeployment) -> CanaryRoute | None:
    """The route that the spec asks for."""
    canary = resource.spec.rollout.canary
    return canary.route if canary else None


def route_finding(resource: InferenceDeployment, observed: Observed) -> Finding | None:
    """What is in a wanted route's way."""
    if wanted_route(resource) is None:
        return None
    return first_finding(CHECKS, _case(resource, observed))


def may_write(resource: InferenceDeployment, observed: Observed) -> bool:
    """Whether the route can be made or changed."""
    return not first_finding(BARRED, _case(resource, observed))


def _case(resource: InferenceDeployment, observed: Observed) -> Case:
    seen = observed.seen(HTTP_ROUTE)
    return Case(resource, seen.is_known, seen.found)


def kind_is_unknown(case: Case) -> Finding | None:
    """The cluster has no HTTPRoute."""
    if case.is_known:
        return None
    return Finding(
        reasons.ROUTE_UNAVAILABLE,
        "the cluster does not know gateway.networking.k8s.io/v1 HTTPRoute: install the Gateway "
        "API, or take spec.rollout.canary.route away",
        stalled=True,
    )


def name_is_taken(case: Case) -> Finding | None:
    """A route of that name is somebody else's."""
    if case.present is None or is_controlled_by(case.resource, case.present):
        return None
    return Finding(
        reasons.ROUTE_NAME_TAKEN,
        f"{case.name} is not this resource's: delete it, or take spec.rollout.canary.route away",
        stalled=True,
    )


def gateway_refuses(case: Case) -> Finding | None:
    """A Gateway does not take the route, or finds something of it missing."""
    for seen in case.conditions():
        if seen["type"] in ("Accepted", "ResolvedRefs") and seen["status"] == "False":
            said = f"{case.name}: {seen.get('reason', '')}: {seen.get('message', '')}"
            return Finding(reasons.ROUTE_NOT_ACCEPTED, said, stalled=True)
    return None


def gateway_is_silent(case: Case) -> Finding | None:
    """No Gateway has said that it takes the route."""
    if any(seen["type"] == "Accepted" and seen["status"] == "True" for seen in case.conditions()):
        return None
    return Finding(
        reasons.ROUTE_PENDING,
        f"{case.name} waits to be taken by a Gateway: see that spec.rollout.canary.route.parentRefs"
        " names one that runs",
    )


BARRED: tuple[Callable[[Case], Finding | None], ...] = (kind_is_unknown, name_is_taken)
"""Before a route is written."""

CHECKS: tuple[Callable[[Case], Finding | None], ...] = (
    *BARRED,
    gateway_refuses,
    gateway_is_silent,
)
"""Of a route that is wanted."""
