"""Canary: the new pods get more of the requests from step to step, by a route or by numbers."""

from dataclasses import replace
from datetime import timedelta

from nacelle_operator.api.rollout import CanaryStep
from nacelle_operator.conditions import timestamp
from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.course import Case, Course, Wait
from nacelle_operator.deployment.finding import Finding
from nacelle_operator.deployment.metric_checks import metrics_are_unknown
from nacelle_operator.objects import memory
from nacelle_operator.objects.memory import Memory
from nacelle_operator.objects.names import Slot


def canary(case: Case, old: Slot) -> Course:
    """The step that the rollout is at, past the last one all replicas.

    A rollout that began beside the old pods and has lost its steps, since the strategy was
    changed, goes to the end at once.
    """
    settings = case.resource.spec.rollout.canary
    steps = settings.steps if settings else ()
    routed = bool(settings and settings.route)
    kept, waits, left = _steps_taken(case, steps)
    new, serving = case.aim.slot, frozenset({old, case.aim.slot})
    ended = kept.step >= len(steps)
    if ended and not case.is_paused and case.is_full(case.wanted):
        kept = replace(kept, outcome=memory.SERVING, ended=timestamp(case.now))
    weight = _weight(kept, steps) if case.answering(new) else 0
    if routed:
        weight = _where_pods_are(case, old, weight)
        size = case.wanted if ended else share(case.wanted, steps[kept.step].weight_percent, True)
        sizes, serving = {old: case.wanted, new: size}, frozenset({old})
    else:
        size = case.wanted if ended else share(case.wanted, steps[kept.step].weight_percent)
        # One pod, and no room for another: the new one takes the old one's place.
        alone = case.wanted + case.resource.spec.rollout.max_surge < 2
        rest = 0 if ended or alone or steps[kept.step].weight_percent == 100 else 1
        sizes = {old: max(rest, case.wanted - size), new: size}
    return Course(kept, sizes, serving, weight, waits, left, frozenset({old}))


def share(wanted: int, percent: int, beside: bool = False) -> int:
    """How many of the wanted replicas are new ones: at least one, and unless they stand beside
    all old ones at most all but one below 100 percent.
    """
    size = max(1, -(-wanted * percent // 100))
    return size if beside or percent == 100 else max(1, min(size, wanted - 1))


def _steps_taken(
    case: Case, steps: tuple[CanaryStep, ...]
) -> tuple[Memory, Finding | None, timedelta | None]:
    """The memory at the step that cannot be passed now, what it waits for, and how long."""
    kept = case.aim.memory
    routed = bool(case.resource.spec.rollout.canary and case.resource.spec.rollout.canary.route)
    while kept.step < len(steps) and not case.is_paused:
        step, number = steps[kept.step], kept.step + 1
        if case.is_promoted(len(steps) + 1):
            kept = replace(kept, step=len(steps), reached="")
            break
        size = share(case.wanted, step.weight_percent, routed)
        full = case.is_full(size) and (not routed or case.reachable(case.aim.slot) >= size)
        if not kept.reached and not full:
            return kept, None, None
        barrier = case.barrier or metrics_are_unknown(case)
        if barrier:
            return kept, barrier, None
        kept = kept if kept.reached else case.reached(kept, measured=True)
        wait = case.wait(kept.reached, step.pause) if step.pause else None
        if not (wait and not wait.left) and not case.is_promoted(number):
            return kept, _waiting(case, number, steps, wait), wait.left if wait else None
        kept = replace(kept, step=number, reached="")
    return kept, None, None


def _weight(kept: Memory, steps: tuple[CanaryStep, ...]) -> int:
    """The weight in force: a step's own once its pods are ready, till then the one before."""
    taken = kept.step if kept.reached else kept.step - 1
    return steps[min(taken, len(steps) - 1)].weight_percent if steps and taken >= 0 else 0


def _where_pods_are(case: Case, old: Slot, weight: int) -> int:
    """The weight, kept off a slot whose Service knows no pod: a Gateway answers 503 for its share.

    A rollout by numbers that is given a route has few old pods left, or none.
    """
    if not case.reachable(case.aim.slot):
        return 0
    return weight if case.reachable(old) else 100


def _waiting(case: Case, number: int, steps: tuple[CanaryStep, ...], wait: Wait | None) -> Finding:
    weight, revision = steps[number - 1].weight_percent, case.aim.number
    said = f"revision {revision} is at step {number} of {len(steps)}, {weight} %"
    if wait:
        return Finding(reasons.ROLLING_OUT, f"{said}, until {wait.end}")
    return Finding(
        reasons.WAITING_FOR_PROMOTION,
        f'{said}: set spec.rollout.promote to "{revision}/{number}" for the next step, or to '
        f'"{revision}" for all that is left',
    )
