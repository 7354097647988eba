"""The Service that clients reach: it selects the pods of the live slot, or of both."""

from typing import Any

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.kinds import SERVICE
from nacelle_operator.objects.metadata import serving_metadata
from nacelle_operator.objects.names import (
    OPENAI_PORT,
    TRITON_GRPC_PORT,
    TRITON_HTTP_PORT,
    TRITON_METRICS_PORT,
    Slot,
)
from nacelle_operator.objects.serving_deployment import slot_selector


def service(resource: InferenceDeployment, slot: Slot | None) -> dict[str, Any]:
    """The Service of one slot's pods, or of all; they are reached by their port's name, so its
    number may change in a rollout.
    """
    return {
        "apiVersion": SERVICE.api_version,
        "kind": SERVICE.name,
        "metadata": serving_metadata(resource, resource.metadata.name),
        "spec": {"selector": slot_selector(resource, slot), "ports": _ports(resource)},
    }


def _ports(resource: InferenceDeployment) -> list[dict[str, Any]]:
    frontends = resource.spec.frontends
    numbers = {OPENAI_PORT: frontends.openai.port}
    if frontends.triton.enabled:
        numbers |= {
            TRITON_HTTP_PORT: frontends.triton.http_port,
            TRITON_GRPC_PORT: frontends.triton.grpc_port,
            TRITON_METRICS_PORT: frontends.triton.metrics_port,
        }
    return [
        {"name": name, "port": number, "targetPort": name, "protocol": "TCP"}
        for name, number in numbers.items()
    ]
