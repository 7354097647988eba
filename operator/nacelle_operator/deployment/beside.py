"""The objects beside the pods that a spec may ask for: what is done about each."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.conditions import AUTOSCALING, MONITORING, NETWORK_RESTRICTED, POOLED, Verdict
from nacelle_operator.deployment.autoscaling import decide_autoscaling
from nacelle_operator.deployment.decision import Decision
from nacelle_operator.deployment.inference_pool import decide_inference_pool
from nacelle_operator.deployment.keda import decide_scaled_object
from nacelle_operator.deployment.monitoring import decide_monitoring
from nacelle_operator.deployment.move import Move
from nacelle_operator.deployment.network import decide_network
from nacelle_operator.deployment.observe import Observed
from nacelle_operator.deployment.rollout import Rollout
from nacelle_operator.plan import KubernetesObject

TOLD: Final = (AUTOSCALING, NETWORK_RESTRICTED, MONITORING, POOLED)
"""The conditions that tell of them; Ready does not depend on them."""


class Beside(NamedTuple):
    """The decisions."""

    autoscaling: Decision
    scaled_object: Decision
    network: Decision
    monitoring: Decision
    pool: Decision

    @property
    def unwatched(self) -> tuple[Decision, ...]:
        """Those about kinds that nobody watches."""
        return (self.scaled_object, self.monitoring, self.pool)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """What is told of those that are asked for."""
        return tuple(decision.verdict for decision in self if decision.verdict)

    @property
    def creates(self) -> Iterator[KubernetesObject]:
        """Those to create."""
        return (decision.create for decision in self if decision.create)

    @property
    def deletes(self) -> Iterator[KubernetesObject]:
        """Those to delete."""
        return (decision.delete for decision in self if decision.delete)


def decide_beside(
    resource: InferenceDeployment, observed: Observed, rollout: Rollout, move: Move | None
) -> Beside:
    """All of them; there is a move if there is, or has been, an engine to serve."""
    is_serving = move is not None
    return Beside(
        decide_autoscaling(resource, observed, rollout),
        decide_scaled_object(resource, observed, rollout),
        decide_network(resource, observed, is_serving=is_serving),
        decide_monitoring(resource, observed, is_serving=is_serving),
        decide_inference_pool(resource, observed, move),
    )
