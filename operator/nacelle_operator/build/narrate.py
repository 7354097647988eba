"""What happened to a build between two statuses, as events for people."""

from collections.abc import Iterator

from nacelle_operator.api.condition import Condition
from nacelle_operator.api.engine_build_status import EngineBuildStatus, TargetStatus
from nacelle_operator.build import reasons
from nacelle_operator.conditions import READY, STALLED, find, is_true
from nacelle_operator.plan import Event

_NORMAL = {reasons.JOINED, reasons.QUEUED, reasons.SUSPENDED, reasons.ALREADY_PUBLISHED}
_WARNING = {
    reasons.NO_MATCHING_NODE,
    reasons.NO_ROOM,
    reasons.CLAIM_NOT_FOUND,
    reasons.CLAIM_NOT_BOUND,
    reasons.IMAGE_NOT_PULLED,
    reasons.CONTAINER_NOT_CREATED,
    reasons.RETRYING,
    reasons.DISRUPTED,
    reasons.NODE_LOST,
    reasons.MORE_MEMORY,
}


def narrate(before: EngineBuildStatus, after: EngineBuildStatus) -> tuple[Event, ...]:
    """The events of one change, in the targets' order."""
    earlier = {target.name: target for target in before.targets}
    return tuple(
        event for target in after.targets for event in _target(earlier.get(target.name), target)
    )


def _target(before: TargetStatus | None, after: TargetStatus) -> Iterator[Event]:
    same = before is not None and before.request_key == after.request_key
    known = before if same else None
    name = f"{after.name} ({after.architecture.value})"
    ready = find(after.conditions, READY)
    assert ready is not None, "every target has a Ready condition"
    changed = _reason(known) != ready.reason
    if changed and ready.reason == reasons.JOB_CREATED:
        yield Event("Normal", reasons.BUILD_STARTED, f"{name}: Job {after.jobs[-1]} is created")
    elif changed and ready.status == "True":
        yield Event("Normal", ready.reason, f"{name}: {after.message}")
    elif is_true(after.conditions, STALLED):
        if changed:
            said = f"{name}: {ready.reason}: {ready.message}"
            yield Event("Warning", reasons.BUILD_FAILED, said)
    elif changed and ready.reason in _WARNING:
        yield Event("Warning", ready.reason, f"{name}: {ready.message}")
    elif changed and ready.reason in _NORMAL:
        yield Event("Normal", ready.reason, f"{name}: {ready.message}")
    if known and known.stage and after.stage and known.stage != after.stage:
        said = f"{name}: {known.stage} is done, {after.stage} begins ({after.percent} %)"
        yield Event("Normal", reasons.STAGE_DONE, said)


def _reason(target: TargetStatus | None) -> str:
    ready: Condition | None = find(target.conditions, READY) if target else None
    return ready.reason if ready else ""
