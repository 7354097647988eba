"""The Deployment of one slot: pods of one revision, or of two while one replaces the other."""

from typing import Any

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.kinds import DEPLOYMENT as KIND
from nacelle_operator.objects.controller_revision import Revision
from nacelle_operator.objects.metadata import serving_metadata
from nacelle_operator.objects.names import DEPLOYMENT, ENGINE, REVISION, SLOT, Slot, slot_name


def serving_deployment(
    resource: InferenceDeployment,
    revision: Revision,
    *,
    replicas: int | None = None,
    paused: bool = False,
) -> dict[str, Any]:
    """The Deployment, of all replicas unless told otherwise.

    Replicas are always said, since leaving them out would reset them to one. Paused, it keeps
    their number and replaces none.
    """
    rollout = resource.spec.rollout
    labels = {SLOT: revision.slot, ENGINE: revision.engine, REVISION: str(revision.number)}
    return {
        "apiVersion": KIND.api_version,
        "kind": KIND.name,
        "metadata": serving_metadata(
            resource, slot_name(resource.metadata.name, revision.slot), **labels
        ),
        "spec": {
            "replicas": resource.spec.replicas if replicas is None else replicas,
            **({"paused": True} if paused else {}),
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


def slot_selector(resource: InferenceDeployment, slot: Slot | None) -> dict[str, str]:
    """The labels that tell the pods of one slot, or of all."""
    if slot is None:
        return {DEPLOYMENT: resource.metadata.name}
    return {DEPLOYMENT: resource.metadata.name, SLOT: slot}
