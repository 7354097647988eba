"""The Service of one slot: what a route sends a share of the requests to."""

from typing import Any

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.objects.metadata import serving_metadata
from nacelle_operator.objects.names import SLOT, Slot, slot_name
from nacelle_operator.objects.service import service


def slot_service(resource: InferenceDeployment, slot: Slot) -> dict[str, Any]:
    """The Service, with the ports of the one that clients reach."""
    name = slot_name(resource.metadata.name, slot)
    labels = {SLOT: slot}
    return {
        **service(resource, slot),
        "metadata": serving_metadata(resource, name, **labels),
    }
