"""The PodDisruptionBudget: drains of nodes take one serving pod at a time."""

from typing import Any

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.kinds import POD_DISRUPTION_BUDGET
from nacelle_operator.objects.metadata import serving_metadata
from nacelle_operator.objects.names import DEPLOYMENT


def pod_disruption_budget(resource: InferenceDeployment) -> dict[str, Any] | None:
    """The budget; None for a single replica, whose node could otherwise never be drained."""
    if resource.spec.replicas <= 1:
        return None
    return {
        "apiVersion": POD_DISRUPTION_BUDGET.api_version,
        "kind": POD_DISRUPTION_BUDGET.name,
        "metadata": serving_metadata(resource, resource.metadata.name),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": {DEPLOYMENT: resource.metadata.name}},
        },
    }
