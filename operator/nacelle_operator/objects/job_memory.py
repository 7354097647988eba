"""The memory of a build's attempts: what each is given, and what one more gets after it ran out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nacelle_operator.objects import names
from nacelle_operator.objects.quantity import from_bytes, to_bytes

MEMORY: Final = "memory"
_GROWTH: Final = 2
_DEFAULT_BOUND: Final = 4
"""Times what the first attempt is given."""
Amounts = Mapping[str, Any]


@dataclass(frozen=True)
class Allowance:
    """Bytes that a Job's pods are given, and those that a later Job's may be given at most."""

    given: int
    most: int

    @property
    def next(self) -> int | None:
        """What the attempt after one that ran out of memory is given; None at the bound."""
        raised = min(_GROWTH * self.given, self.most)
        return raised if raised > self.given else None


def given_memory(resources: Mapping[str, Amounts]) -> int:
    """The bytes that a container may use, or, without a limit, those reserved for it; 0 when none
    are stated, or the API server will refuse what is."""
    limits, requests = resources.get("limits", {}), resources.get("requests", {})
    try:
        return to_bytes(limits.get(MEMORY, requests.get(MEMORY, 0)))
    except ValueError:
        return 0


def default_bound(resources: Mapping[str, Amounts]) -> str:
    """The bound of resources whose user states none."""
    return from_bytes(_DEFAULT_BOUND * given_memory(resources))


def with_memory(resources: Mapping[str, Amounts], memory: int) -> dict[str, dict[str, Any]]:
    """The resources raised to that memory, a request in proportion; never less than they were."""
    given = given_memory(resources)
    made = {section: dict(amounts) for section, amounts in resources.items()}
    if memory > given > 0:
        for amounts in made.values():
            if MEMORY in amounts:
                amounts[MEMORY] = from_bytes(to_bytes(amounts[MEMORY]) * memory // given)
    return made


def allowance(job: Mapping[str, Any]) -> Allowance:
    """A Job's; one that says no bound (made by an older operator) is at it."""
    (container,) = job["spec"]["template"]["spec"]["containers"]
    given = given_memory(container.get("resources") or {})
    stated = (job["metadata"].get("annotations") or {}).get(names.MAX_MEMORY)
    return Allowance(given, to_bytes(stated) if stated else given)
