"""The HTTPRoute and the Services that it weighs: what is made of them, and what goes."""

from dataclasses import dataclass

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.deployment.move import Move
from nacelle_operator.deployment.observe import Observed
from nacelle_operator.deployment.route import may_write, wanted_route
from nacelle_operator.kinds import HTTP_ROUTE
from nacelle_operator.objects.http_route import http_route
from nacelle_operator.objects.names import SLOTS
from nacelle_operator.objects.owner import is_controlled_by
from nacelle_operator.objects.slot_service import slot_service
from nacelle_operator.plan import KubernetesObject


@dataclass(frozen=True)
class Traffic:
    """Services to apply, a route to create or to apply, and what is to go."""

    services: tuple[KubernetesObject, ...] = ()
    create: KubernetesObject | None = None
    apply: KubernetesObject | None = None
    deletes: tuple[KubernetesObject, ...] = ()


def decide_traffic(resource: InferenceDeployment, observed: Observed, move: Move | None) -> Traffic:
    """The route as it is wanted; one that cannot be written is left as it was.

    A Service of a slot is what remembers that there may be a route, so it goes after the route.
    """
    wanted, present = wanted_route(resource), observed.seen(HTTP_ROUTE).found
    if wanted is None:
        ours = present if present and is_controlled_by(resource, present) else None
        return Traffic(deletes=tuple(m for m in (ours, *observed.slot_services.values()) if m))
    if move is None:
        return Traffic()
    services = tuple(slot_service(resource, slot) for slot in SLOTS)
    if not may_write(resource, observed):
        return Traffic(services)
    made = http_route(resource, wanted, move.weights)
    if present is None:
        return Traffic(services, create=made)
    # With its uid it is this very object or none: never another that has taken its name.
    made["metadata"]["uid"] = present["metadata"]["uid"]
    return Traffic(services, apply=made)
