"""An object beside the pods that a spec may ask for, some of a kind that a cluster may not know."""

from dataclasses import dataclass

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.deployment.observe import Observed
from nacelle_operator.kinds import Kind
from nacelle_operator.objects.owner import is_controlled_by
from nacelle_operator.plan import KubernetesObject


@dataclass(frozen=True)
class OptionalCase:
    """The resource, the kind, what bears the name, whether there is anything to serve, and whether
    the cluster knows the kind.
    """

    resource: InferenceDeployment
    kind: Kind
    present: KubernetesObject | None
    is_serving: bool
    is_known: bool = True

    @property
    def name(self) -> str:
        """The object, as messages name it."""
        return f"{self.kind.name} {self.resource.metadata.name}"

    @property
    def is_anothers(self) -> bool:
        """Whether what bears the name is somebody else's."""
        return self.present is not None and not is_controlled_by(self.resource, self.present)

    @property
    def awaited(self) -> str:
        """What is told while there is none yet."""
        when = "being made" if self.is_serving else "made as soon as there is an engine to serve"
        return f"{self.name} is {when}"


def optional_case(
    resource: InferenceDeployment, observed: Observed, kind: Kind, *, is_serving: bool
) -> OptionalCase:
    """The case of a kind that a cluster may not know, as things stand."""
    is_known, present = observed.seen(kind)
    return OptionalCase(resource, kind, present, is_serving, is_known)
