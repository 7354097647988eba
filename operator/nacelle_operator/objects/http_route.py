"""The HTTPRoute of the Gateway API that weighs two slots' Services."""

from collections.abc import Mapping
from typing import Any

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.api.rollout import CanaryRoute, GatewayRef
from nacelle_operator.kinds import HTTP_ROUTE
from nacelle_operator.objects.metadata import serving_metadata
from nacelle_operator.objects.names import SLOTS, Slot, slot_name
from nacelle_operator.objects.slot_service import SLOT_PORT

_GROUP = HTTP_ROUTE.group


def http_route(
    resource: InferenceDeployment, route: CanaryRoute, weights: Mapping[Slot, int]
) -> dict[str, Any]:
    """The route; a slot without a weight gets 0. What the API server would fill in is said, so
    that what it gives back is what was sent.
    """
    name = resource.metadata.name
    backends = [
        {
            "group": "",
            "kind": "Service",
            "name": slot_name(name, slot),
            "port": SLOT_PORT,
            "weight": weights.get(slot, 0),
        }
        for slot in SLOTS
    ]
    parents = [_parent(ref) for ref in route.parent_refs]
    every = {"path": {"type": "PathPrefix", "value": "/"}}
    return {
        "apiVersion": HTTP_ROUTE.api_version,
        "kind": HTTP_ROUTE.name,
        "metadata": serving_metadata(resource, name),
        "spec": {
            "parentRefs": parents,
            # Said though empty: created as it is, it would not go by being left out.
            "hostnames": list(route.hostnames),
            "rules": [{"matches": [every], "backendRefs": backends}],
        },
    }


def _parent(ref: GatewayRef) -> dict[str, Any]:
    place = {"name": ref.name, "namespace": ref.namespace, "sectionName": ref.section_name}
    said = {field: value for field, value in place.items() if value}
    return {"group": _GROUP, "kind": "Gateway", **said}
