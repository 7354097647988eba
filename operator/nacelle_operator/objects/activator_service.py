"""The Service by which an autoscaler asks the activator, whoever gets the clients' requests."""

from typing import Any

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.kinds import SERVICE as KIND
from nacelle_operator.objects.activator import ACTIVATOR_PORT, activator_selector
from nacelle_operator.objects.metadata import serving_metadata
from nacelle_operator.objects.names import OPENAI_PORT, activator_name, url


def activator_service(resource: InferenceDeployment) -> dict[str, Any]:
    """The Service."""
    port = {
        "name": OPENAI_PORT,
        "port": ACTIVATOR_PORT,
        "targetPort": OPENAI_PORT,
        "protocol": "TCP",
    }
    return {
        "apiVersion": KIND.api_version,
        "kind": KIND.name,
        "metadata": serving_metadata(resource, activator_name(resource.metadata.name)),
        "spec": {"selector": activator_selector(resource), "ports": [port]},
    }


def waiting_url(resource: InferenceDeployment) -> str:
    """Where the activator tells whether a request has found nobody."""
    meta = resource.metadata
    return f"{url('http', activator_name(meta.name), meta.namespace, ACTIVATOR_PORT)}/waiting"
