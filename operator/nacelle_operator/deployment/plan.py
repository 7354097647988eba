"""What is to be done for a deployment: decided from what was observed, with no I/O and no clock."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from nacelle_operator.api.condition import Condition
from nacelle_operator.api.inference_deployment import (
    InferenceDeployment,
    InferenceDeploymentStatus,
)
from nacelle_operator.conditions import READY, STALLED, find, is_true
from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.activation import Activation, decide_activation
from nacelle_operator.deployment.beside import TOLD, Beside, decide_beside
from nacelle_operator.deployment.kept_revisions import kept_revisions
from nacelle_operator.deployment.move import Move, next_move
from nacelle_operator.deployment.observe import Observed
from nacelle_operator.deployment.rollout import Renderer, Rollout, decide_rollout
from nacelle_operator.deployment.status import deployment_status
from nacelle_operator.deployment.traffic import Traffic, decide_traffic
from nacelle_operator.deployment.unwatched import to_remember
from nacelle_operator.objects.controller_revision import controller_revision
from nacelle_operator.objects.pod_disruption_budget import pod_disruption_budget
from nacelle_operator.objects.service import service
from nacelle_operator.objects.serving_deployment import serving_deployment
from nacelle_operator.objects.serving_pod import pod_template
from nacelle_operator.plan import Deletion, Event, KubernetesObject, Plan

# Changes bring the next look by their events; this is for one that was missed.
_LOOK_AGAIN_SECONDS = 60.0
# Neither metrics nor what is not watched tell of a change.
_METRICS_SECONDS = 10.0
_UNWATCHED_SECONDS = 5.0
_OF_ROUTES = (
    reasons.ROUTE_PENDING,
    reasons.ROUTE_NOT_ACCEPTED,
    reasons.ROUTE_UNAVAILABLE,
    reasons.ROUTE_NAME_TAKEN,
)


def plan(
    resource: InferenceDeployment,
    observed: Observed,
    now: datetime,
    render: Renderer = pod_template,
) -> Plan:
    """The objects that serve the resource, what is to go, and the status."""
    rollout = decide_rollout(resource, observed, render)
    move = next_move(resource, observed, rollout, now)
    beside = decide_beside(resource, observed, rollout, move)
    guard = beside.network.create
    if guard and not observed.deployments:
        # Before the first pod; all else follows at the look that its event brings.
        return Plan(creates=(guard,), requeue_seconds=_UNWATCHED_SECONDS, uid=resource.metadata.uid)
    traffic = decide_traffic(resource, observed, move)
    activation = decide_activation(resource, observed, move, beside.scaled_object)
    decided = Decided(traffic, beside, activation)
    status = deployment_status(resource, observed, (rollout, move), beside.verdicts, now)
    return Plan(
        objects=tuple(_objects(resource, observed, move, decided)),
        # Created, never applied, while it is not known: a stranger of that name stays as it is.
        creates=(*([traffic.create] if traffic.create else []), *beside.creates),
        deletes=tuple(_deletes(resource, observed, move, decided)),
        status=status.plain(),
        requeue_seconds=_requeue(status, move, beside),
        events=tuple(_events(resource, rollout, status)),
        uid=resource.metadata.uid,
    )


class Decided(NamedTuple):
    """What has been decided about objects other than the slots' own."""

    traffic: Traffic
    beside: Beside
    activation: Activation


def _requeue(status: InferenceDeploymentStatus, move: Move | None, beside: Beside) -> float | None:
    """When to look again though nothing has changed; not at all when all is as it is wanted."""
    if any(decision.delete for decision in beside.unwatched):
        return _UNWATCHED_SECONDS
    judged = (find(status.conditions, type_) for type_ in (READY, *TOLD))
    if all(condition.status == "True" for condition in judged if condition):
        return None
    ready = find(status.conditions, READY)
    if ready and ready.reason in _OF_ROUTES:
        return _UNWATCHED_SECONDS
    left = move.course.look_again if move else None
    seconds = [_LOOK_AGAIN_SECONDS, *([left.total_seconds()] if left else [])]
    if move and move.is_under_way and move.case.resource.spec.rollout.checks:
        seconds.append(_METRICS_SECONDS)
    return min(seconds)


def _objects(
    resource: InferenceDeployment,
    observed: Observed,
    move: Move | None,
    decided: Decided,
) -> Iterator[KubernetesObject]:
    """In the order in which they are applied: a template is kept before any pod has it."""
    traffic, beside, activation = decided
    if move is None:
        return
    for revision in move.written:
        yield controller_revision(resource, revision)
    if beside.network.apply:
        yield beside.network.apply
    yield from activation.objects
    front = service(
        resource,
        move.selected_slot,
        remembers=to_remember(resource, observed),
        to_activator=activation.is_on,
    )
    slots = [
        serving_deployment(resource, sized.revision, replicas=sized.replicas, paused=sized.paused)
        for sized in move.deployments
    ]
    # Requests are led to the activator before the last pod is told to go.
    yield from [front, *slots] if activation.is_on else [*slots, front]
    yield from traffic.services
    if traffic.apply:
        yield traffic.apply
    budget = pod_disruption_budget(resource)
    if budget:
        yield budget
    for decision in beside:
        if decision.apply and decision is not beside.network:
            yield decision.apply


def _deletes(
    resource: InferenceDeployment,
    observed: Observed,
    move: Move | None,
    decided: Decided,
) -> Iterator[Deletion]:
    traffic, beside, activation = decided
    for manifest in traffic.deletes:
        yield _deletion(manifest)
    if move:
        wanted = {sized.revision.slot for sized in move.deployments}
        for slot, manifest in observed.deployments.items():
            if slot not in wanted:
                yield _deletion(manifest)
    if observed.budget and pod_disruption_budget(resource) is None:
        yield _deletion(observed.budget)
    for manifest in (*beside.deletes, *activation.deletes):
        yield _deletion(manifest)
    kept = {revision.number for revision in kept_revisions(resource, observed, move)}
    for manifest in observed.revisions:
        if manifest["revision"] not in kept:
            yield _deletion(manifest)


def _deletion(manifest: Mapping[str, object]) -> Deletion:
    meta = manifest["metadata"]
    assert isinstance(meta, Mapping)
    return Deletion(
        api_version=str(manifest["apiVersion"]),
        kind=str(manifest["kind"]),
        name=str(meta["name"]),
        uid=meta.get("uid"),
    )


def _events(
    resource: InferenceDeployment, rollout: Rollout, status: InferenceDeploymentStatus
) -> Iterator[Event]:
    """What has just changed: a new revision, or another reason to be or not to be ready."""
    if rollout.is_new and rollout.revision:
        number, engine = rollout.revision.number, rollout.revision.engine
        said = f"revision {number} goes live with Engine {engine}"
        yield Event("Normal", reasons.ROLLOUT_STARTED, said)
    ready = _changed(resource, status, READY)
    if ready:
        stalled = is_true(status.conditions, STALLED)
        yield Event("Warning" if stalled else "Normal", ready.reason, ready.message)
    for type_ in TOLD:
        told = _changed(resource, status, type_)
        if told and told.status == "False":
            yield Event("Warning", told.reason, told.message)


def _changed(
    resource: InferenceDeployment, status: InferenceDeploymentStatus, type_: str
) -> Condition | None:
    """The condition if its reason is another one than before."""
    before, after = (find(s.conditions, type_) for s in (resource.status, status))
    return None if after and before and before.reason == after.reason else after
