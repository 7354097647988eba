"""The activator, which answers clients while no pod does: what is made of it, and its turn."""

from collections.abc import Iterator
from dataclasses import dataclass

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.deployment.decision import Decision
from nacelle_operator.deployment.move import Move
from nacelle_operator.deployment.network import wants_policy
from nacelle_operator.deployment.observe import Observed
from nacelle_operator.kinds import SCALED_OBJECT
from nacelle_operator.objects.activator import activator
from nacelle_operator.objects.activator_policy import activator_policy
from nacelle_operator.objects.activator_service import activator_service
from nacelle_operator.objects.owner import is_controlled_by
from nacelle_operator.plan import KubernetesObject


@dataclass(frozen=True)
class Activation:
    """Objects to apply and to delete, and whether the Service leads to the activator now."""

    objects: tuple[KubernetesObject, ...] = ()
    deletes: tuple[KubernetesObject, ...] = ()
    is_on: bool = False


def decide_activation(
    resource: InferenceDeployment, observed: Observed, move: Move | None, scaled: Decision
) -> Activation:
    """It is there as long as an autoscaler may take the last pod, and wakes the first."""
    if move is None:
        return Activation()
    wanted = tuple(_objects(resource, observed)) if _is_wanted(resource, observed, scaled) else ()
    kept = {manifest["kind"] for manifest in wanted}
    return Activation(
        objects=wanted,
        deletes=tuple(m for m in observed.activator if m["kind"] not in kept),
        # Before the last pod is told to go, and until the first one answers.
        is_on=bool(wanted) and not (resource.spec.replicas and _answering(move)),
    )


def _is_wanted(resource: InferenceDeployment, observed: Observed, scaled: Decision) -> bool:
    """Whether there is, or is about to be, a ScaledObject of ours that may scale to zero."""
    wish, present = resource.spec.autoscaling, observed.seen(SCALED_OBJECT).found
    is_there = present is not None and is_controlled_by(resource, present)
    may_sleep = wish is not None and wish.min_replicas == 0 and bool(observed.activator_image)
    return may_sleep and (is_there or scaled.create is not None)


def _objects(resource: InferenceDeployment, observed: Observed) -> Iterator[KubernetesObject]:
    if wants_policy(resource):
        yield activator_policy(resource)
    yield activator(resource, observed.activator_image)
    yield activator_service(resource)


def _answering(move: Move) -> int:
    """Pods behind the Service that answer, and are to stay."""
    return sum(map(move.case.answering, move.selected))
