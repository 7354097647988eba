"""One slot alone: a first revision, one that is at rest, or pods replaced one after another."""

from dataclasses import replace

from nacelle_operator.conditions import timestamp
from nacelle_operator.deployment.course import Case, Course
from nacelle_operator.objects import memory


def in_place(case: Case) -> Course:
    """All replicas in the aim's slot, whose Deployment does the replacing."""
    kept, slot = case.aim.memory, case.aim.slot
    if kept.outcome != memory.SERVING and not case.is_paused and case.is_full(case.wanted):
        kept = replace(kept, outcome=memory.SERVING, ended=timestamp(case.now))
    return Course(kept, {slot: case.wanted}, frozenset({slot}))
