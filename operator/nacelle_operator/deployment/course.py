"""What a strategy is asked, and what it answers: pods by slot, who is sent requests, what next."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from nacelle_operator.api.duration import parse_duration
from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.conditions import timestamp
from nacelle_operator.deployment.finding import Finding
from nacelle_operator.deployment.slot_state import SlotState
from nacelle_operator.objects.controller_revision import Revision
from nacelle_operator.objects.memory import Memory
from nacelle_operator.objects.names import Slot
from nacelle_operator.objects.tally import Tally


class Wait(NamedTuple):
    """What is left of a time, zero once it is over, and when it ends."""

    left: timedelta
    end: str


@dataclass(frozen=True)
class Case:
    """A rollout now: the revision that is aimed at, the one to fall back to, the slots.

    `barrier` keeps a canary where it is, such as a route that no Gateway takes. `tally` is what the
    aim's pods have counted, if that is known.
    """

    resource: InferenceDeployment
    aim: Revision
    stable: Revision | None
    states: Mapping[Slot, SlotState]
    now: datetime
    barrier: Finding | None = None
    tally: Tally | None = None

    @property
    def wanted(self) -> int:
        """How many replicas are asked for."""
        return self.resource.spec.replicas

    @property
    def is_paused(self) -> bool:
        """Whether nothing may move."""
        return self.resource.spec.rollout.paused

    def is_full(self, size: int) -> bool:
        """Whether exactly so many pods of the aim are there and all answer."""
        state = self.states.get(self.aim.slot)
        return state is not None and state.is_full(self.aim, size)

    def answering(self, slot: Slot) -> int:
        """Pods of a slot that answer."""
        state = self.states.get(slot)
        return state.answering if state else 0

    def reachable(self, slot: Slot) -> int:
        """Pods that a route reaches by the slot's own Service: later than they are ready."""
        state = self.states.get(slot)
        return state.endpoints if state else 0

    def is_promoted(self, step: int) -> bool:
        """Whether somebody has let the aim pass this step, counted from 1."""
        number, _, upto = (self.resource.spec.rollout.promote or "").partition("/")
        return number == str(self.aim.number) and (not upto or int(upto) >= step)

    def reached(self, kept: Memory, *, measured: bool) -> Memory:
        """The memory of a step that begins to last now."""
        figures = astuple(self.tally) if self.tally else ()
        return replace(kept, reached=timestamp(self.now), baseline=figures, is_measured=measured)

    def wait(self, since: str, length: str) -> "Wait":
        """A time of that length that began then."""
        end = _moment(since) + parse_duration(length)
        return Wait(max(timedelta(), end - self.now), timestamp(end))


@dataclass(frozen=True)
class Course:
    """Where a rollout goes from here.

    `sizes`: how many pods each slot is to have; a slot that is not named goes. `serving`: the
    slots that the Service is to select. `weight`: percent of the requests for the aim, at a route.
    `fallback`: the slots that grow again if the others' pods no longer suffice. `waits`: what
    keeps it where it is, and `look_again`: when that is over.
    """

    memory: Memory
    sizes: Mapping[Slot, int]
    serving: frozenset[Slot]
    weight: int = 100
    waits: Finding | None = None
    look_again: timedelta | None = None
    fallback: frozenset[Slot] = frozenset()


def _moment(text: str) -> datetime:
    """A moment as Kubernetes writes it."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
