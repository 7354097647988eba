"""The NetworkPolicy of an activator: reached by clients and the autoscaler, it reaches nothing."""

from typing import Any

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.kinds import NETWORK_POLICY as KIND
from nacelle_operator.objects.activator import activator_selector
from nacelle_operator.objects.metadata import serving_metadata
from nacelle_operator.objects.names import OPENAI_PORT, activator_name


def activator_policy(resource: InferenceDeployment) -> dict[str, Any]:
    """The policy."""
    return {
        "apiVersion": KIND.api_version,
        "kind": KIND.name,
        "metadata": serving_metadata(resource, activator_name(resource.metadata.name)),
        "spec": {
            "podSelector": {"matchLabels": activator_selector(resource)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [{"protocol": "TCP", "port": OPENAI_PORT}]}],
        },
    }
