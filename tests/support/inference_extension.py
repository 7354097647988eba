"""The InferencePool's kind: the fields of its published reference, which comes with no Go module.

Source: https://gateway-api-inference-extension.sigs.k8s.io/reference/spec, the version v1 of group
inference.networking.k8s.io.
"""

from typing import Any

GROUP = "inference.networking.k8s.io"
PLURAL = "inferencepools"


def definition() -> dict[str, Any]:
    """The CustomResourceDefinition, with the published fields, bounds and defaults of a spec."""
    number = {"type": "integer", "format": "int32", "minimum": 1, "maximum": 65535}
    port = _object({"number": number}, "number")
    picker = _object(
        {
            "group": {"type": "string", "default": "", "maxLength": 253},
            "kind": {"type": "string", "default": "Service", "minLength": 1, "maxLength": 63},
            "name": {"type": "string", "minLength": 1, "maxLength": 253},
            "port": port,
            "failureMode": {
                "type": "string",
                "default": "FailClose",
                "enum": ["FailOpen", "FailClose"],
            },
        },
        "name",
    )
    value = {"type": "string", "maxLength": 63}
    labels = {"type": "object", "additionalProperties": value, "maxProperties": 64}
    spec = _object(
        {
            "selector": _object({"matchLabels": labels}, "matchLabels"),
            "targetPorts": {"type": "array", "items": port, "minItems": 1, "maxItems": 8},
            "endpointPickerRef": picker,
            "appProtocol": {
                "type": "string",
                "default": "http",
                "enum": ["http", "kubernetes.io/h2c"],
            },
        },
        "selector",
        "targetPorts",
        "endpointPickerRef",
    )
    status = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": _object({"spec": spec, "status": status}, "spec")},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{PLURAL}.{GROUP}",
            # Names of groups of Kubernetes' own need it.
            "annotations": {"api-approved.kubernetes.io": "unapproved, experimental-only"},
        },
        "spec": {
            "group": GROUP,
            "names": {"kind": "InferencePool", "plural": PLURAL, "singular": "inferencepool"},
            "scope": "Namespaced",
            "versions": [version],
        },
    }


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}
