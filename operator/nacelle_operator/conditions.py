"""Conditions from one reconcile to the next: a transition's time changes only with its status."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from nacelle_operator.api.condition import Condition

READY = "Ready"
AVAILABLE = "Available"
AUTOSCALING = "Autoscaling"
NETWORK_RESTRICTED = "NetworkRestricted"
MONITORING = "Monitoring"
POOLED = "InferencePool"
UNUSED = "Unused"
RECONCILING = "Reconciling"
STALLED = "Stalled"


@dataclass(frozen=True)
class Verdict:
    """A condition that was judged now; when it last changed is found by `carry`."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str = ""


def timestamp(moment: datetime) -> str:
    """A moment as Kubernetes writes it: whole seconds, UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def carry(
    previous: Sequence[Condition], verdicts: Iterable[Verdict], *, generation: int, now: datetime
) -> tuple[Condition, ...]:
    """The conditions to write: exactly the verdicts, each with the time its status last changed."""
    before = {condition.type: condition for condition in previous}
    carried = []
    for verdict in verdicts:
        old = before.get(verdict.type)
        unchanged = old is not None and old.status == verdict.status
        carried.append(
            Condition(
                type=verdict.type,
                status=verdict.status,
                reason=verdict.reason,
                message=verdict.message[:4096],
                observed_generation=generation,
                last_transition_time=(
                    old.last_transition_time if old and unchanged else timestamp(now)
                ),
            )
        )
    return tuple(carried)


def find(conditions: Iterable[Condition], type_: str) -> Condition | None:
    """The condition of that type, or None."""
    return next((c for c in conditions if c.type == type_), None)


def is_true(conditions: Iterable[Condition], type_: str) -> bool:
    """Whether a condition of that type is there and holds."""
    condition = find(conditions, type_)
    return condition is not None and condition.status == "True"
