"""An object beside the pods, under a name that somebody else may hold."""

from dataclasses import dataclass
from typing import Any

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.conditions import Verdict
from nacelle_operator.objects.owner import is_controlled_by
from nacelle_operator.plan import KubernetesObject


@dataclass(frozen=True)
class Decision:
    """The object to create, to apply or to delete, and what is told of it."""

    create: KubernetesObject | None = None
    apply: KubernetesObject | None = None
    delete: KubernetesObject | None = None
    verdict: Verdict | None = None


def written(
    made: dict[str, Any], present: KubernetesObject | None, verdict: Verdict | None
) -> Decision:
    """Created where there is none; what is present, and ours, becomes as it was made."""
    if present is None:
        return Decision(create=made, verdict=verdict)
    # With its uid it is this very object or none: never another that has taken its name.
    made["metadata"]["uid"] = present["metadata"]["uid"]
    return Decision(apply=made, verdict=verdict)


def let_go(resource: InferenceDeployment, present: KubernetesObject | None) -> Decision:
    """Nothing is wanted: what is ours goes."""
    return Decision(delete=present if present and is_controlled_by(resource, present) else None)
