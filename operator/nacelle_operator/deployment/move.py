"""One look's move: the pods of each slot, who is sent requests, and what is remembered."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.conditions import timestamp
from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.blue_green import blue_green
from nacelle_operator.deployment.canary import canary
from nacelle_operator.deployment.capacity import selection, sizes_now
from nacelle_operator.deployment.course import Case, Course
from nacelle_operator.deployment.failure import Pods, failure
from nacelle_operator.deployment.finding import Finding
from nacelle_operator.deployment.history import History
from nacelle_operator.deployment.in_place import in_place
from nacelle_operator.deployment.observe import Observed
from nacelle_operator.deployment.rollout import Rollout
from nacelle_operator.deployment.route import route_finding
from nacelle_operator.deployment.slot_state import slot_states
from nacelle_operator.deployment.wanted import terms
from nacelle_operator.objects import memory
from nacelle_operator.objects.controller_revision import Revision
from nacelle_operator.objects.names import ACTIVATOR, SLOT, SLOTS, Slot


@dataclass(frozen=True)
class Sized:
    """A slot's Deployment: so many pods of this revision; paused, none is replaced."""

    revision: Revision
    replicas: int
    paused: bool = False


@dataclass(frozen=True)
class Move:
    """What a look leads to.

    `case` and `course` are those of the revision that goes on: after a failure the stable one,
    with `failed` beside it. `written`: revisions whose memory is new. `weight`: percent of the
    requests at a route for each slot.
    """

    case: Case
    course: Course
    deployments: tuple[Sized, ...]
    selected: frozenset[Slot]
    written: tuple[Revision, ...] = ()
    failed: Revision | None = None

    @property
    def revision(self) -> Revision:
        """The revision that goes on, with what is remembered of it now."""
        return replace(self.case.aim, memory=self.course.memory)

    @property
    def selected_slot(self) -> Slot | None:
        """The one slot that is selected; None when both are."""
        return next(iter(self.selected)) if len(self.selected) == 1 else None

    @property
    def is_under_way(self) -> bool:
        """Whether the revision has not proved itself yet."""
        return self.course.memory.outcome == memory.ROLLING_OUT

    @property
    def weights(self) -> dict[Slot, int]:
        """Percent of a route's requests by slot."""
        aim, stable = self.case.aim, self.case.stable
        if stable is None or stable.slot == aim.slot:
            return {aim.slot: 100}
        return {stable.slot: 100 - self.course.weight, aim.slot: self.course.weight}


def next_move(
    resource: InferenceDeployment, observed: Observed, rollout: Rollout, now: datetime
) -> Move | None:
    """The next move of a rollout; None while there is nothing to serve."""
    if rollout.revision is None:
        return None
    history = History.read(observed.revisions)
    aim = _begun(rollout, resource, now)
    case = Case(
        resource=resource,
        aim=aim,
        stable=rollout.stable,
        states=slot_states(observed, history),
        now=now,
        barrier=route_finding(resource, observed),
        tally=observed.tally,
    )
    given_up = tuple(_ended(revision, now) for revision in rollout.superseded)
    case, failed = _judged(case, observed.pods)
    course = _course(case)
    selected = _selected(observed)
    sizes = sizes_now(case, course, selected)
    remembered = replace(case.aim, memory=course.memory)
    written = [*given_up, *([failed] if failed else []), remembered]
    return Move(
        case=case,
        course=course,
        deployments=tuple(_sized(case, course, sizes)),
        selected=selection(case, course, sizes, selected),
        written=tuple(r for r in written if rollout.is_new or r != history.numbered(r.number)),
        failed=failed or rollout.failed,
    )


def _begun(rollout: Rollout, resource: InferenceDeployment, now: datetime) -> Revision:
    """The revision that is aimed at; a change of strategy begins its steps anew."""
    revision = rollout.revision
    assert revision is not None, "asked after there is one"
    kept = revision.memory
    if rollout.is_new:
        kept = replace(kept, started=timestamp(now))
    strategy = resource.spec.rollout.strategy
    if kept.outcome == memory.ROLLING_OUT and kept.strategy != strategy:
        kept = replace(kept, strategy=strategy, step=0, reached="", baseline=())
    return replace(revision, memory=kept)


def _ended(revision: Revision, now: datetime) -> Revision:
    kept = revision.memory
    return replace(revision, memory=replace(kept, ended=kept.ended or timestamp(now)))


def _judged(case: Case, pods: Pods) -> tuple[Case, Revision | None]:
    """The case itself, or with the stable revision when the aim has just failed."""
    stable, aim = case.stable, case.aim
    if stable is None or aim.memory.outcome != memory.ROLLING_OUT:
        return case, None
    found = failure(case, pods)
    if found is None:
        return case, None
    failed = replace(
        aim.memory,
        outcome=memory.FAILED,
        ended=timestamp(case.now),
        reason=found.reason,
        message=found.message,
        terms=terms(case.resource),
    )
    return replace(case, aim=stable), replace(aim, memory=failed)


def _course(case: Case) -> Course:
    """What the strategy says; before that, what is in the way in the aim's slot has to go."""
    stable, aim = case.stable, case.aim
    if stable is None or stable.slot == aim.slot:
        return in_place(case)
    state = case.states.get(aim.slot)
    if state and state.revision.number != aim.number:
        number = state.revision.number
        said = f"revision {aim.number} waits for the end of revision {number}'s pods"
        return Course(
            aim.memory,
            {stable.slot: case.wanted},
            frozenset({stable.slot}),
            weight=0,
            waits=Finding(reasons.ROLLING_OUT, said),
        )
    if case.wanted == 0 and not case.is_paused:
        done = replace(aim.memory, outcome=memory.SERVING, ended=timestamp(case.now))
        return Course(done, {aim.slot: 0}, frozenset({aim.slot}))
    if case.resource.spec.rollout.strategy == "BlueGreen":
        return blue_green(case, stable.slot)
    return canary(case, stable.slot)


def _sized(case: Case, course: Course, sizes: Mapping[Slot, int]) -> Iterator[Sized]:
    """The Deployments to apply; a slot that has to go is not among them."""
    for slot, size in sizes.items():
        if slot not in course.sizes:
            revision = case.states[slot].revision
        elif slot == case.aim.slot:
            yield Sized(case.aim, size, paused=case.is_paused and _replaces(case))
            continue
        else:
            assert case.stable is not None, "a course has the aim's slot and the stable one's"
            revision = case.stable
        if size:
            yield Sized(revision, size)


def _replaces(case: Case) -> bool:
    """Whether the aim's Deployment is replacing the stable revision's pods by its own."""
    stable, aim = case.stable, case.aim
    return stable is not None and stable.number != aim.number and stable.slot == aim.slot


def _selected(observed: Observed) -> frozenset[Slot]:
    """The slots that the Service selects now."""
    if observed.service is None:
        return frozenset()
    selector = observed.service.get("spec", {}).get("selector", {})
    if ACTIVATOR in selector:
        return frozenset()
    chosen = selector.get(SLOT)
    return frozenset(slot for slot in SLOTS if chosen in (None, slot))
