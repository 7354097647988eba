"""A deployment's status: what is served, how well, and what stands in the way."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from nacelle_operator.api.inference_deployment import (
    InferenceDeployment,
    InferenceDeploymentStatus,
)
from nacelle_operator.api.rollout_status import RolloutStatus
from nacelle_operator.conditions import (
    AVAILABLE,
    READY,
    RECONCILING,
    STALLED,
    Verdict,
    carry,
)
from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.failure import waiting_pods
from nacelle_operator.deployment.finding import Finding
from nacelle_operator.deployment.kept_revisions import kept_revisions, told
from nacelle_operator.deployment.move import Move
from nacelle_operator.deployment.observe import Observed
from nacelle_operator.deployment.pod_checks import ready_pods
from nacelle_operator.deployment.rollout import Rollout
from nacelle_operator.deployment.route import wanted_route
from nacelle_operator.objects.controller_revision import Revision
from nacelle_operator.objects.names import ENGINE, SLOT, url
from nacelle_operator.objects.serving_deployment import slot_selector


@dataclass(frozen=True)
class Progress:
    """How many of the wanted replicas exist, answer, and run the wanted revision.

    `can_wake`: none at all are wanted, and a request will make it one.
    """

    wanted: int
    exist: int = 0
    ready: int = 0
    updated: int = 0
    is_done: bool = False
    can_wake: bool = False


def deployment_status(
    resource: InferenceDeployment,
    observed: Observed,
    decided: tuple[Rollout, Move | None],
    beside: tuple[Verdict, ...],
    now: datetime,
) -> InferenceDeploymentStatus:
    """The whole status, computed once; times of transitions are carried over.

    `beside`: what is told of the objects beside the pods, which Ready does not depend on.
    """
    before = resource.status
    rollout, move = decided
    progress = _progress(resource, move)
    current = _current_engine(observed, move) or before.current_engine
    changed = before.current_engine and current != before.current_engine
    return InferenceDeploymentStatus(
        observed_generation=resource.metadata.generation,
        conditions=carry(
            before.conditions,
            _verdicts(observed, rollout, move, (progress, beside)),
            generation=resource.metadata.generation,
            now=now,
        ),
        replicas=progress.exist,
        ready_replicas=progress.ready,
        selector=_selector(resource, rollout, move),
        url=_url(resource) if move else "",
        current_engine=current,
        target_engine=rollout.target_engine,
        previous_engine=before.current_engine if changed else before.previous_engine,
        rollout=_rollout(resource, observed, move, progress) if move else None,
    )


def _url(resource: InferenceDeployment) -> str:
    meta, openai = resource.metadata, resource.spec.frontends.openai
    return url(openai.scheme, meta.name, meta.namespace, openai.port)


def _selector(resource: InferenceDeployment, rollout: Rollout, move: Move | None) -> str:
    """The pods behind the Service: what an autoscaler counts and measures."""
    slots = move.selected if move else frozenset({rollout.slot})
    labels = slot_selector(resource, next(iter(slots)) if len(slots) == 1 else None)
    return ",".join(f"{key}={value}" for key, value in labels.items())


def _rollout(
    resource: InferenceDeployment, observed: Observed, move: Move, progress: Progress
) -> RolloutStatus:
    aim, stable, course = move.revision, move.case.stable, move.course
    beside = move.is_under_way and stable is not None and stable.slot != aim.slot
    is_canary = beside and resource.spec.rollout.strategy == "Canary"
    return RolloutStatus(
        slot=aim.slot,
        revision=aim.number,
        updated_replicas=progress.updated,
        stable_revision=stable.number if stable else None,
        step=course.memory.step + 1 if is_canary else None,
        weight_percent=_weight(resource, move) if beside else None,
        history=told(kept_revisions(resource, observed, move)),
    )


def _weight(resource: InferenceDeployment, move: Move) -> int:
    """The percent of requests that the new revision gets: by the route, or by numbers of pods."""
    case, aim = move.case, move.case.aim
    if wanted_route(resource):
        return move.course.weight
    answering = {slot: case.answering(slot) for slot in move.selected}
    return 100 * answering.get(aim.slot, 0) // max(1, sum(answering.values()))


def _progress(resource: InferenceDeployment, move: Move | None) -> Progress:
    wanted, wish = resource.spec.replicas, resource.spec.autoscaling
    can_wake = wanted == 0 and wish is not None and wish.min_replicas == 0
    if move is None:
        return Progress(wanted, can_wake=can_wake)
    states = move.case.states
    behind = [states[slot] for slot in sorted(move.selected) if slot in states]
    aim = states.get(move.case.aim.slot)
    is_aim = aim is not None and aim.revision.number == move.case.aim.number
    alone = set(states) <= {move.case.aim.slot} and not move.is_under_way
    return Progress(
        wanted,
        exist=sum(state.exist for state in behind),
        ready=sum(state.ready for state in behind),
        updated=aim.updated if aim and is_aim else 0,
        is_done=alone and move.case.is_full(wanted),
        can_wake=can_wake,
    )


def _current_engine(observed: Observed, move: Move | None) -> str:
    """The engine that all ready pods serve that get requests; empty if there is none or several."""
    labels = [pod["metadata"].get("labels", {}) for pod in ready_pods(observed.pods)]
    slots = move.selected if move else ()
    served = {found.get(ENGINE, "") for found in labels if found.get(SLOT) in slots}
    return served.pop() if len(served) == 1 else ""


def _verdicts(
    observed: Observed,
    rollout: Rollout,
    move: Move | None,
    judged: tuple[Progress, tuple[Verdict, ...]],
) -> Iterator[Verdict]:
    progress, beside = judged
    pods = waiting_pods(move.case, observed.pods) if move else None
    finding = _finding(rollout, move, progress, pods)
    if finding is None:
        yield _ready(rollout, progress)
    else:
        yield Verdict(READY, "False", finding.reason, finding.message)
    yield _available(progress, pods, has_engine=move is not None)
    yield from beside
    if finding:
        kind = STALLED if finding.stalled else RECONCILING
        yield Verdict(kind, "True", finding.reason, finding.message)


def _finding(
    rollout: Rollout, move: Move | None, progress: Progress, pods: Finding | None
) -> Finding | None:
    """Why it is not ready: the engine first, then the rollout, then its pods."""
    if rollout.finding:
        return rollout.finding
    if move is None:
        return _held("the first revision starts")
    if move.failed:
        return _failed(move, move.failed)
    if rollout.held:
        return _held("what the spec asks for is rolled out")
    if move.case.is_paused and not progress.is_done:
        return _held(f"revision {move.case.aim.number} goes on")
    if progress.is_done:
        return move.case.barrier
    if pods and progress.wanted:
        return pods
    if move.course.waits:
        return move.course.waits
    said = _how_far(move, progress)
    state = move.case.states.get(move.case.aim.slot)
    if state and state.is_stuck:
        return Finding(reasons.ROLLOUT_STUCK, f"no progress within the deadline: {said}", True)
    return Finding(reasons.ROLLING_OUT, said)


def _how_far(move: Move, progress: Progress) -> str:
    """The new pods, those of the slot beside when there are two, and who answers."""
    case, aim = move.case, move.case.aim
    if case.stable is None or case.stable.slot == aim.slot or not move.is_under_way:
        new = f"{progress.updated} of {progress.wanted} replicas run Engine {aim.engine}"
        return f"{new}, {progress.ready} pods answer"
    size = move.course.sizes.get(aim.slot, 0)
    new = f"{case.answering(aim.slot)} of {size} pods of revision {aim.number} are ready"
    return f"{new} with Engine {aim.engine}, {progress.ready} pods answer requests"


def _held(what: str) -> Finding:
    said = f"spec.rollout.paused is true: {what} when it is false"
    return Finding(reasons.ROLLOUT_PAUSED, said)


def _failed(move: Move, failed: Revision) -> Finding:
    """What failed, what serves instead, and what to do."""
    serving, kept = move.case.aim, failed.memory
    return Finding(
        kept.reason,
        f"revision {failed.number} with Engine {failed.engine} failed, and revision "
        f"{serving.number} with Engine {serving.engine} serves on; change the spec or the engine, "
        f"and it is tried again: {kept.message}",
        stalled=True,
    )


def _ready(rollout: Rollout, progress: Progress) -> Verdict:
    engine = rollout.target_engine
    if progress.can_wake:
        said = f"asleep: a request wakes it, and Engine {engine} is served then"
        return Verdict(READY, "True", reasons.SCALED_TO_ZERO, said)
    if progress.wanted == 0:
        said = f"no replicas are asked for; Engine {engine} is served once there are"
        return Verdict(READY, "True", reasons.SCALED_TO_ZERO, said)
    said = f"all {progress.wanted} replicas serve Engine {engine}"
    return Verdict(READY, "True", reasons.SERVING, said)


def _available(progress: Progress, pods: Finding | None, *, has_engine: bool) -> Verdict:
    if progress.ready:
        said = f"{progress.ready} of {progress.wanted} replicas answer"
        return Verdict(AVAILABLE, "True", reasons.REPLICAS_READY, said)
    if not has_engine:
        return Verdict(AVAILABLE, "False", reasons.NO_ENGINE_YET, "no engine was there to serve")
    if progress.wanted == 0:
        said = "asleep until a request comes" if progress.can_wake else "no replicas are asked for"
        return Verdict(AVAILABLE, "False", reasons.SCALED_TO_ZERO, said)
    said = pods.message if pods else f"none of {progress.wanted} replicas answers yet"
    return Verdict(AVAILABLE, "False", reasons.NO_REPLICA_READY, said)
