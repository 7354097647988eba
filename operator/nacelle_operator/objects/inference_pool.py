"""The InferencePool: which pods an endpoint picker chooses from, and which picker.

Fields: https://gateway-api-inference-extension.sigs.k8s.io/reference/spec, version v1.
"""

from typing import Any

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.api.inference_pool import InferencePool
from nacelle_operator.kinds import INFERENCE_POOL as KIND
from nacelle_operator.objects.metadata import serving_metadata
from nacelle_operator.objects.names import Slot
from nacelle_operator.objects.serving_deployment import slot_selector


def inference_pool(
    resource: InferenceDeployment, pool: InferencePool, slot: Slot | None
) -> dict[str, Any]:
    """The pool of one slot's pods, or of all. What the API server would fill in is said, so that
    what it gives back is what was sent.
    """
    picker = pool.endpoint_picker_ref
    return {
        "apiVersion": KIND.api_version,
        "kind": KIND.name,
        "metadata": serving_metadata(resource, resource.metadata.name),
        "spec": {
            "selector": {"matchLabels": slot_selector(resource, slot)},
            # By its number: a pool knows no names of ports.
            "targetPorts": [{"number": resource.spec.frontends.openai.port}],
            "endpointPickerRef": {
                "group": "",
                "kind": "Service",
                "name": picker.name,
                "port": {"number": picker.port},
                "failureMode": picker.failure_mode,
            },
        },
    }
