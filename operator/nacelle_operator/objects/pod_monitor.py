"""The PodMonitor of the Prometheus Operator: which pods' metrics are read, and how."""

from collections.abc import Iterator, Mapping
from typing import Any

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.api.serving import Frontends
from nacelle_operator.kinds import POD_MONITOR as KIND
from nacelle_operator.objects.metadata import serving_metadata
from nacelle_operator.objects.names import (
    ENGINE,
    OPENAI_PORT,
    REVISION,
    TRITON_METRICS_PORT,
)
from nacelle_operator.objects.serving_deployment import slot_selector


def pod_monitor(resource: InferenceDeployment, labels: Mapping[str, str]) -> dict[str, Any]:
    """The PodMonitor of both slots' pods, with these labels of the user's.

    Each series is told by engine and revision, so that a rollout's two can be compared.
    """
    metadata = serving_metadata(resource, resource.metadata.name)
    return {
        "apiVersion": KIND.api_version,
        "kind": KIND.name,
        "metadata": {**metadata, "labels": {**labels, **metadata["labels"]}},
        "spec": {
            "selector": {"matchLabels": slot_selector(resource, None)},
            "podTargetLabels": [ENGINE, REVISION],
            "podMetricsEndpoints": list(_endpoints(resource.spec.frontends)),
        },
    }


def _endpoints(frontends: Frontends) -> Iterator[dict[str, Any]]:
    openai = {"port": OPENAI_PORT, "path": "/metrics", "scheme": frontends.openai.scheme}
    # Pods are read by their addresses, which no certificate names.
    over_tls = frontends.openai.scheme == "https"
    yield {**openai, "tlsConfig": {"insecureSkipVerify": True}} if over_tls else openai
    if frontends.triton.enabled:
        yield {"port": TRITON_METRICS_PORT, "path": "/metrics", "scheme": "http"}
