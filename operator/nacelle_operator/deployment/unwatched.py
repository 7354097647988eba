"""Objects of kinds that a cluster may not know, and that nobody watches: how they are remembered.

The Service's annotations say which there may be: set before one is made, and until it has been
seen to be gone.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.deployment.observe import Observed
from nacelle_operator.kinds import INFERENCE_POOL, POD_MONITOR, SCALED_OBJECT, Kind
from nacelle_operator.objects import names
from nacelle_operator.objects.owner import is_controlled_by


class Unwatched(NamedTuple):
    """A kind, the annotation that remembers one of it, and whether a spec asks for one."""

    kind: Kind
    annotation: str
    is_wanted: Callable[[InferenceDeployment], bool]

    def is_looked_for(self, resource: InferenceDeployment, observed: Observed) -> bool:
        """Whether there is one, or is to be one, as far as is known."""
        kept = (observed.service or {}).get("metadata", {}).get("annotations") or {}
        return self.is_wanted(resource) or self.annotation in kept

    def may_be_there(self, resource: InferenceDeployment, observed: Observed) -> bool:
        """Whether one of ours is there, or is about to be."""
        present = observed.seen(self.kind).found
        is_ours = present is not None and is_controlled_by(resource, present)
        return self.is_wanted(resource) or is_ours


def wants_monitor(resource: InferenceDeployment) -> bool:
    """Whether the spec asks for a PodMonitor."""
    return resource.spec.monitoring.pod_monitor is not None


def wants_scaled_object(resource: InferenceDeployment) -> bool:
    """Whether the spec asks for a ScaledObject."""
    wish = resource.spec.autoscaling
    return wish is not None and wish.provider == "KEDA"


def wants_pool(resource: InferenceDeployment) -> bool:
    """Whether the spec asks for an InferencePool."""
    return resource.spec.inference_pool is not None


REMEMBERED: Final = (
    Unwatched(POD_MONITOR, names.POD_MONITOR, wants_monitor),
    Unwatched(SCALED_OBJECT, names.SCALED_OBJECT, wants_scaled_object),
    Unwatched(INFERENCE_POOL, names.INFERENCE_POOL, wants_pool),
)


def to_remember(resource: InferenceDeployment, observed: Observed) -> Iterator[str]:
    """The annotations that the Service is to carry."""
    return (each.annotation for each in REMEMBERED if each.may_be_there(resource, observed))
