"""Metadata of the objects that serve an InferenceDeployment."""

from typing import Any

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.objects.names import DEPLOYMENT, managed_labels
from nacelle_operator.objects.owner import owner_reference

PART = "runtime"


def serving_metadata(resource: InferenceDeployment, name: str, **labels: str) -> dict[str, Any]:
    """The metadata of a child by that name: it is found by its labels and goes with its owner."""
    return {
        "name": name,
        "namespace": resource.metadata.namespace,
        "labels": {**serving_labels(resource), **labels},
        "ownerReferences": [owner_reference(resource)],
    }


def serving_labels(resource: InferenceDeployment) -> dict[str, str]:
    """The labels of everything that serves the resource, pods included."""
    return {**managed_labels(PART), DEPLOYMENT: resource.metadata.name}
