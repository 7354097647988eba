"""A deployment's status: what is served, how well, and what stands in the way."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nacelle_operator.api.inference_deployment import (
    InferenceDeployment,
    InferenceDeploymentStatus,
    RolloutStatus,
)
from nacelle_operator.conditions import (
    AVAILABLE,
    READY,
    RECONCILING,
    STALLED,
    Verdict,
    carry,
)
from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.finding import Finding
from nacelle_operator.deployment.observe import Observed
from nacelle_operator.deployment.pod_checks import pod_finding, ready_pods
from nacelle_operator.deployment.rollout import Rollout
from nacelle_operator.objects.names import DEPLOYMENT, ENGINE, REVISION, SLOT, url


@dataclass(frozen=True)
class Progress:
    """How many of the wanted replicas exist, answer, and run the live revision."""

    wanted: int
    exist: int = 0
    ready: int = 0
    updated: int = 0
    is_applied: bool = False
    is_stuck: bool = False

    @property
    def is_done(self) -> bool:
        """Whether exactly the wanted replicas exist, all of the live revision, all answering."""
        counts = {self.exist, self.ready, self.updated}
        return self.is_applied and counts == {self.wanted}


def deployment_status(
    resource: InferenceDeployment,
    observed: Observed,
    rollout: Rollout,
    autoscaling: Verdict | None,
    now: datetime,
) -> InferenceDeploymentStatus:
    """The whole status, computed once; times of transitions are carried over."""
    before = resource.status
    progress = _progress(resource, observed, rollout)
    current = _current_engine(observed) or before.current_engine
    changed = before.current_engine and current != before.current_engine
    revision = rollout.revision
    return InferenceDeploymentStatus(
        observed_generation=resource.metadata.generation,
        conditions=carry(
            before.conditions,
            _verdicts(observed, rollout, progress, autoscaling),
            generation=resource.metadata.generation,
            now=now,
        ),
        replicas=progress.exist,
        ready_replicas=progress.ready,
        selector=f"{DEPLOYMENT}={resource.metadata.name},{SLOT}={rollout.slot}",
        url=_url(resource) if revision else "",
        current_engine=current,
        target_engine=rollout.target_engine,
        previous_engine=before.current_engine if changed else before.previous_engine,
        rollout=RolloutStatus(
            slot=revision.slot, revision=revision.number, updated_replicas=progress.updated
        )
        if revision
        else None,
    )


def _url(resource: InferenceDeployment) -> str:
    port = resource.spec.frontends.openai.port
    return url(resource.metadata.name, resource.metadata.namespace, port)


def _progress(resource: InferenceDeployment, observed: Observed, rollout: Rollout) -> Progress:
    wanted, revision = resource.spec.replicas, rollout.revision
    manifest = observed.deployments.get(rollout.slot)
    if manifest is None or revision is None:
        return Progress(wanted, is_applied=False)
    status: Mapping[str, Any] = manifest.get("status", {})
    meta = manifest["metadata"]
    applied = (
        meta.get("labels", {}).get(REVISION) == str(revision.number)
        and manifest["spec"].get("replicas") == wanted
        and status.get("observedGeneration", 0) >= meta.get("generation", 0)
    )
    conditions = status.get("conditions") or ()
    return Progress(
        wanted,
        exist=status.get("replicas", 0),
        ready=status.get("readyReplicas", 0),
        updated=status.get("updatedReplicas", 0) if applied else 0,
        is_applied=applied,
        is_stuck=applied
        and any(
            c["type"] == "Progressing" and c.get("reason") == "ProgressDeadlineExceeded"
            for c in conditions
        ),
    )


def _current_engine(observed: Observed) -> str:
    """The engine that all ready pods serve; empty when there are none, or several."""
    served = {pod["metadata"]["labels"].get(ENGINE, "") for pod in ready_pods(observed.pods)}
    return served.pop() if len(served) == 1 else ""


def _verdicts(
    observed: Observed, rollout: Rollout, progress: Progress, autoscaling: Verdict | None
) -> Iterator[Verdict]:
    pods = pod_finding(_live_pods(observed, rollout))
    finding = _finding(rollout, progress, pods)
    if finding is None:
        yield _ready(rollout, progress)
    else:
        yield Verdict(READY, "False", finding.reason, finding.message)
    yield _available(rollout, progress, pods)
    if autoscaling:
        yield autoscaling
    if finding:
        kind = STALLED if finding.stalled else RECONCILING
        yield Verdict(kind, "True", finding.reason, finding.message)


def _live_pods(observed: Observed, rollout: Rollout) -> list[Any]:
    """Pods of the live revision."""
    number = str(rollout.revision.number) if rollout.revision else ""
    return [
        pod for pod in observed.pods if pod["metadata"].get("labels", {}).get(REVISION) == number
    ]


def _finding(rollout: Rollout, progress: Progress, pods: Finding | None) -> Finding | None:
    """Why it is not ready: the engine first, then the pods, then the rollout."""
    if rollout.finding:
        return rollout.finding
    if progress.is_done:
        return None
    if pods and progress.wanted:
        return pods
    engine = rollout.revision.engine if rollout.revision else rollout.target_engine
    said = (
        f"{progress.updated} of {progress.wanted} replicas run Engine {engine}, "
        f"{progress.ready} pods answer"
    )
    if progress.is_stuck:
        return Finding(reasons.ROLLOUT_STUCK, f"no progress within the deadline: {said}", True)
    return Finding(reasons.ROLLING_OUT, said)


def _ready(rollout: Rollout, progress: Progress) -> Verdict:
    engine = rollout.target_engine
    if progress.wanted == 0:
        said = f"no replicas are asked for; Engine {engine} is served once there are"
        return Verdict(READY, "True", reasons.SCALED_TO_ZERO, said)
    said = f"all {progress.wanted} replicas serve Engine {engine}"
    return Verdict(READY, "True", reasons.SERVING, said)


def _available(rollout: Rollout, progress: Progress, pods: Finding | None) -> Verdict:
    if progress.ready:
        said = f"{progress.ready} of {progress.wanted} replicas answer"
        return Verdict(AVAILABLE, "True", reasons.REPLICAS_READY, said)
    if rollout.revision is None:
        return Verdict(AVAILABLE, "False", reasons.NO_ENGINE_YET, "no engine was there to serve")
    if progress.wanted == 0:
        return Verdict(AVAILABLE, "False", reasons.SCALED_TO_ZERO, "no replicas are asked for")
    said = pods.message if pods else f"none of {progress.wanted} replicas answers yet"
    return Verdict(AVAILABLE, "False", reasons.NO_REPLICA_READY, said)
