"""Blue-green: all new pods beside all old ones, one switch, and the old ones go later."""

from dataclasses import replace
from datetime import timedelta

from nacelle_operator.api.rollout import BlueGreen
from nacelle_operator.conditions import timestamp
from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.course import Case, Course
from nacelle_operator.deployment.finding import Finding
from nacelle_operator.deployment.metric_checks import metrics_are_unknown
from nacelle_operator.objects import memory
from nacelle_operator.objects.memory import Memory
from nacelle_operator.objects.names import Slot

_BEFORE, _SWITCHED = 0, 1


def blue_green(case: Case, old: Slot) -> Course:
    """Both slots at full number until the old one's time after the switch is over."""
    settings = case.resource.spec.rollout.blue_green or BlueGreen()
    kept, new = case.aim.memory, case.aim.slot
    sizes = {old: case.wanted, new: case.wanted}
    if kept.step == _BEFORE:
        kept, waits, left = _before(case, kept, settings)
        if kept.step == _BEFORE:
            return Course(kept, sizes, frozenset({old}), 0, waits, left, frozenset({old}))
    wait = case.wait(kept.reached, settings.scale_down_delay)
    serving = frozenset({new})
    if wait.left or case.is_paused:
        said = f"revision {case.aim.number} serves, the pods before it stay until {wait.end}"
        waits = Finding(reasons.ROLLING_OUT, said)
        return Course(kept, sizes, serving, 100, waits, wait.left or None, frozenset({old}))
    unknown = metrics_are_unknown(case)
    if unknown:
        return Course(kept, sizes, serving, 100, unknown, None, frozenset({old}))
    kept = replace(kept, outcome=memory.SERVING, ended=timestamp(case.now))
    return Course(kept, sizes, serving, 100, None, None, frozenset({old}))


def _before(
    case: Case, kept: Memory, settings: BlueGreen
) -> tuple[Memory, Finding | None, timedelta | None]:
    """The memory after a look before the switch, what it waits for, and how long."""
    full = case.is_full(case.wanted)
    if case.is_paused or not (full or kept.reached):
        return kept, None, None
    if not full:
        return replace(kept, reached=""), None, None
    kept = kept if kept.reached else case.reached(kept, measured=False)
    switched = replace(case.reached(kept, measured=True), step=_SWITCHED)
    if case.is_promoted(1):
        return switched, None, None
    number = case.aim.number
    if not settings.auto_promote:
        said = (
            f"all {case.wanted} pods of revision {number} are ready and get no requests: set "
            f'spec.rollout.promote to "{number}" to switch to them'
        )
        return kept, Finding(reasons.WAITING_FOR_PROMOTION, said), None
    wait = case.wait(kept.reached, settings.pause or "0s")
    if not wait.left:
        return switched, None, None
    said = f"all {case.wanted} pods of revision {number} are ready, the switch is at {wait.end}"
    return kept, Finding(reasons.ROLLING_OUT, said), wait.left
