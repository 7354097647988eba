"""The Deployment of one slot: as many pods of one revision as the resource asks for."""

from typing import Any

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.kinds import DEPLOYMENT as KIND
from nacelle_operator.objects.controller_revision import Revision
from nacelle_operator.objects.metadata import serving_metadata
from nacelle_operator.objects.names import DEPLOYMENT, ENGINE, REVISION, SLOT, Slot, slot_name


def serving_deployment(resource: InferenceDeployment, revision: Revision) -> dict[str, Any]:
    """The Deployment; replicas are always said, since leaving them out would reset them to one."""
    rollout = resource.spec.rollout
    labels = {SLOT: revision.slot, ENGINE: revision.engine, REVISION: str(revision.number)}
    return {
        "apiVersion": KIND.api_version,
        "kind": KIND.name,
        "metadata": serving_metadata(
            resource, slot_name(resource.metadata.name, revision.slot), **labels
        ),
        "spec": {
            "replicas": resource.spec.replicas,
            "selector": {"matchLabels": slot_selector(resource, revision.slot)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {
                    "maxUnavailable": rollout.max_unavailable,
                    "maxSurge": rollout.max_surge,
                },
            },
            "progressDeadlineSeconds": rollout.progress_deadline_seconds,
            "revisionHistoryLimit": 2,
            "template": dict(revision.template),
        },
    }


def slot_selector(resource: InferenceDeployment, slot: Slot) -> dict[str, str]:
    """The labels that tell the pods of one slot."""
    return {DEPLOYMENT: resource.metadata.name, SLOT: slot}
