"""The Service of one slot: what a route sends a share of the requests to."""

from typing import Any, Final

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.kinds import SERVICE
from nacelle_operator.objects.metadata import serving_metadata
from nacelle_operator.objects.names import OPENAI_PORT, SLOT, Slot, slot_name
from nacelle_operator.objects.serving_deployment import slot_selector

# Its own and always the same: a route and its Services cannot change their port in one moment.
SLOT_PORT: Final = 80


def slot_service(resource: InferenceDeployment, slot: Slot) -> dict[str, Any]:
    """The Service of a slot's OpenAI API; pods are reached by their port's name."""
    port = {
        "name": OPENAI_PORT,
        "port": SLOT_PORT,
        "targetPort": OPENAI_PORT,
        "protocol": "TCP",
    }
    labels = {SLOT: slot}
    return {
        "apiVersion": SERVICE.api_version,
        "kind": SERVICE.name,
        "metadata": serving_metadata(resource, slot_name(resource.metadata.name, slot), **labels),
        "spec": {"selector": slot_selector(resource, slot), "ports": [port]},
    }
