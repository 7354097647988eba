"""The Service that clients reach: it selects the pods of the live slot, or of both."""

from collections.abc import Iterable
from typing import Any

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.kinds import SERVICE
from nacelle_operator.objects.activator import activator_selector
from nacelle_operator.objects.frontend_ports import frontend_ports
from nacelle_operator.objects.metadata import serving_metadata
from nacelle_operator.objects.names import Slot
from nacelle_operator.objects.serving_deployment import slot_selector


def service(
    resource: InferenceDeployment,
    slot: Slot | None,
    *,
    remembers: Iterable[str] = (),
    to_activator: bool = False,
) -> dict[str, Any]:
    """The Service of one slot's pods, or of all, or of the activator in their stead.

    Pods are reached by their port's name, so its number may change in a rollout.
    Its annotations remember what there may be that nobody watches.
    """
    name = resource.metadata.name
    metadata = serving_metadata(resource, name)
    selector = activator_selector(resource) if to_activator else slot_selector(resource, slot)
    remembered = dict.fromkeys(remembers, name)
    if remembered:
        metadata["annotations"] = remembered
    return {
        "apiVersion": SERVICE.api_version,
        "kind": SERVICE.name,
        "metadata": metadata,
        "spec": {"selector": selector, "ports": _ports(resource)},
    }


def _ports(resource: InferenceDeployment) -> list[dict[str, Any]]:
    return [
        {"name": name, "port": number, "targetPort": name, "protocol": "TCP"}
        for name, number in frontend_ports(resource.spec.frontends).items()
    ]
