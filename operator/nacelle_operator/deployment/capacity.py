"""How many pods each slot gets now, so that enough answer all the time: no strategy's business.

With two slots behind the Service, one takes pods away only as the other's answer.
"""

from collections.abc import Mapping

from nacelle_operator.deployment.course import Case, Course
from nacelle_operator.objects.names import Slot


def sizes_now(case: Case, course: Course, selected: frozenset[Slot]) -> dict[Slot, int]:
    """The pods of each slot now; `selected` are the slots that get requests before this look.

    No slot that gets requests shrinks below what is asked for, less maxUnavailable, less the
    pods of other slots that answer. The aim grows into the room that maxSurge gives.
    """
    rollout = case.resource.spec.rollout
    least = case.wanted - rollout.max_unavailable
    counted = course.serving | selected
    sizes = {}
    for slot in sorted({*case.states, *course.sizes}):
        size, state = course.sizes.get(slot, 0), case.states.get(slot)
        others = sum(case.answering(other) for other in counted if other != slot)
        if slot in course.fallback:
            size = max(size, least - others) if slot in counted else size
        elif state and slot in selected:
            size = max(size, min(state.size, least - others))
        if slot == case.aim.slot and len(course.serving) > 1:
            before = state.size if state else 0
            room = case.wanted + rollout.max_surge - _pods(case, slot)
            size = min(size, max(before, room, 0))
        sizes[slot] = max(0, size)
    return sizes


def selection(
    case: Case, course: Course, sizes: Mapping[Slot, int], selected: frozenset[Slot]
) -> frozenset[Slot]:
    """The slots to select: those that the course names, and of those before what is left over, or
    is needed until the others' pods suffice.
    """
    least = case.wanted - case.resource.spec.rollout.max_unavailable
    suffice = sum(map(case.answering, course.serving)) >= least
    kept = {
        slot
        for slot in selected
        if sizes.get(slot, 0) > (course.sizes.get(slot, 0) if suffice else 0)
    }
    return course.serving | kept


def _pods(case: Case, slot: Slot) -> int:
    """Pods of the other slots, that exist or are told to."""
    others = (state for other, state in case.states.items() if other != slot)
    return sum(max(state.exist, state.size) for state in others)
