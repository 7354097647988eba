"""What a check finds: why a deployment is not as it is wanted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

Subject = TypeVar("Subject")


@dataclass(frozen=True)
class Finding:
    """A reason and a message; stalled when it stays so until somebody does something."""

    reason: str
    message: str
    stalled: bool = False


def first_finding(
    checks: Sequence[Callable[[Subject], Finding | None]], subject: Subject
) -> Finding | None:
    """What the first check finds that finds something; those after it may count on that."""
    return next((found for check in checks if (found := check(subject))), None)
