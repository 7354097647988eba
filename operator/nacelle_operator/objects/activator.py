"""The Deployment of a deployment's activator: what answers clients while no serving pod does.

Its pods bear no label of the serving pods: whatever selects those never finds it.
"""

from typing import Any, Final

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.kinds import DEPLOYMENT as KIND
from nacelle_operator.objects.metadata import serving_metadata
from nacelle_operator.objects.names import (
    ACTIVATOR,
    OPENAI_PORT,
    activator_name,
    managed_labels,
)
from nacelle_operator.objects.security import container_security, pod_security

ACTIVATOR_PORT: Final = 8000
_PART: Final = "activator"


def activator(resource: InferenceDeployment, image: str) -> dict[str, Any]:
    """The Deployment of one pod that holds no token and no secret, by the operator's image."""
    name = resource.metadata.name
    pod = resource.spec.pod
    wished: dict[str, Any] = {
        "tolerations": [toleration.plain() for toleration in pod.tolerations],
        "imagePullSecrets": [{"name": secret} for secret in pod.image_pull_secrets],
    }
    return {
        "apiVersion": KIND.api_version,
        "kind": KIND.name,
        "metadata": serving_metadata(resource, activator_name(name)),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": activator_selector(resource)},
            "revisionHistoryLimit": 2,
            "template": {
                "metadata": {"labels": {**managed_labels(_PART), **activator_selector(resource)}},
                "spec": {
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": 10,
                    "securityContext": pod_security(),
                    "containers": [_container(name, image)],
                    **{field: value for field, value in wished.items() if value},
                },
            },
        },
    }


def activator_selector(resource: InferenceDeployment) -> dict[str, str]:
    """The labels that tell the activator's pods."""
    return {ACTIVATOR: resource.metadata.name}


def _container(name: str, image: str) -> dict[str, Any]:
    probe = {"httpGet": {"path": "/healthz", "port": OPENAI_PORT}, "timeoutSeconds": 5}
    return {
        "name": _PART,
        "image": image,
        "command": ["python", "-m", "nacelle_operator.activator"],
        "args": [name, str(ACTIVATOR_PORT)],
        # As the serving pods' port is called: a Service leads to either by this name.
        "ports": [{"name": OPENAI_PORT, "containerPort": ACTIVATOR_PORT}],
        "resources": {
            "requests": {"cpu": "10m", "memory": "32Mi"},
            "limits": {"memory": "128Mi"},
        },
        "securityContext": container_security(),
        "readinessProbe": {**probe, "periodSeconds": 5},
        "livenessProbe": {**probe, "periodSeconds": 10, "failureThreshold": 6},
    }
