"""What is to be done for a deployment: decided from what was observed, with no I/O and no clock."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from nacelle_operator.api.condition import Condition
from nacelle_operator.api.inference_deployment import (
    InferenceDeployment,
    InferenceDeploymentStatus,
)
from nacelle_operator.conditions import AUTOSCALING, READY, STALLED, find, is_true
from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.autoscaling import Decision, decide_autoscaling
from nacelle_operator.deployment.observe import Observed
from nacelle_operator.deployment.rollout import Renderer, Rollout, decide_rollout
from nacelle_operator.deployment.status import deployment_status
from nacelle_operator.objects.controller_revision import controller_revision
from nacelle_operator.objects.pod_disruption_budget import pod_disruption_budget
from nacelle_operator.objects.service import service
from nacelle_operator.objects.serving_deployment import serving_deployment
from nacelle_operator.objects.serving_pod import pod_template
from nacelle_operator.plan import Deletion, Event, KubernetesObject, Plan

# The live revision and four before it.
_REVISIONS_KEPT = 5
# Changes bring the next look by their events; this is for one that was missed.
_LOOK_AGAIN_SECONDS = 60.0


def plan(
    resource: InferenceDeployment,
    observed: Observed,
    now: datetime,
    render: Renderer = pod_template,
) -> Plan:
    """The objects that serve the resource, what is to go, and the status."""
    rollout = decide_rollout(resource, observed, render)
    autoscaling = decide_autoscaling(resource, observed, rollout)
    status = deployment_status(resource, observed, rollout, autoscaling.verdict, now)
    return Plan(
        objects=tuple(_objects(resource, rollout, autoscaling)),
        # Created, never applied, while it is not known: a stranger of that name stays as it is.
        creates=(autoscaling.create,) if autoscaling.create else (),
        deletes=tuple(_deletes(resource, observed, rollout, autoscaling)),
        status=status.plain(),
        requeue_seconds=None if _is_at_rest(status) else _LOOK_AGAIN_SECONDS,
        events=tuple(_events(resource, rollout, status)),
    )


def _is_at_rest(status: InferenceDeploymentStatus) -> bool:
    """Whether all is as it is wanted."""
    judged = (find(status.conditions, type_) for type_ in (READY, AUTOSCALING))
    return all(condition.status == "True" for condition in judged if condition)


def _objects(
    resource: InferenceDeployment, rollout: Rollout, autoscaling: Decision
) -> Iterator[KubernetesObject]:
    """In the order in which they are applied: a template is kept before any pod has it."""
    revision = rollout.revision
    if revision is None:
        return
    if rollout.is_new:
        yield controller_revision(resource, revision)
    yield serving_deployment(resource, revision)
    yield service(resource, revision.slot)
    budget = pod_disruption_budget(resource)
    if budget:
        yield budget
    if autoscaling.apply:
        yield autoscaling.apply


def _deletes(
    resource: InferenceDeployment, observed: Observed, rollout: Rollout, autoscaling: Decision
) -> Iterator[Deletion]:
    if rollout.revision:
        for slot, manifest in observed.deployments.items():
            if slot != rollout.revision.slot:
                yield _deletion(manifest)
    if observed.budget and pod_disruption_budget(resource) is None:
        yield _deletion(observed.budget)
    if autoscaling.delete:
        yield _deletion(autoscaling.delete)
    newest_first = sorted(observed.revisions, key=lambda r: -int(r["revision"]))
    for manifest in newest_first[_REVISIONS_KEPT - rollout.is_new :]:
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
    autoscaling = _changed(resource, status, AUTOSCALING)
    if autoscaling and autoscaling.status == "False":
        yield Event("Warning", autoscaling.reason, autoscaling.message)


def _changed(
    resource: InferenceDeployment, status: InferenceDeploymentStatus, type_: str
) -> Condition | None:
    """The condition if its reason is another one than before."""
    before, after = (find(s.conditions, type_) for s in (resource.status, status))
    return None if after and before and before.reason == after.reason else after
