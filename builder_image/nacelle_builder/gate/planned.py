"""The steps whose attention a prebuilt library does, and how the gate runs them."""

from dataclasses import dataclass
from typing import Final

from nacelle_builder.gate.steps import Phase, phase
from nacelle_engine.limits import Limits
from nacelle_engine.program.launch import LaunchList

# Beyond a range's first size, so that neither borders nor tiles are met exactly.
_BEYOND: Final = 43
_UNEVEN: Final = 13


@dataclass(frozen=True)
class PlannedSteps:
    """sizes: tokens of a step of each such range; fp8_queries: whether queries are rounded."""

    sizes: tuple[int, ...] = ()
    tokens_a_request: int = 1
    fp8_queries: bool = False

    def phases(self, limits: Limits) -> tuple[Phase, ...]:
        """Prompts in steps of each size: whole ones and, where they may be so long, their rest."""
        return tuple(self._phase(size, limits) for size in self.sizes)

    def _phase(self, size: int, limits: Limits) -> Phase:
        steps = 2 if limits.max_seq_len >= 2 * self.tokens_a_request else 1
        count = max(2, -(-steps * size // limits.max_seq_len))
        share = size // count
        first = [share] * count
        uneven = min(_UNEVEN, share - self.tokens_a_request)
        first[0] += size - share * count + max(uneven, 0)
        first[-1] -= max(uneven, 0)
        columns = (first, first[::-1])[:steps]
        return phase(f"prompts of {size} tokens", list(zip(*columns, strict=True)), limits)


NONE_PLANNED: Final = PlannedSteps()


def planned_steps(launches: LaunchList) -> PlannedSteps:
    """What a launch list leaves to libraries."""
    ranges = [one for one in launches.steps if one.planned]
    if not ranges:
        return NONE_PLANNED
    return PlannedSteps(
        sizes=tuple(min(one.min_tokens + _BEYOND, one.max_tokens) for one in ranges),
        tokens_a_request=max(one.tokens_a_request for one in ranges),
        fp8_queries=any(one.library.query_dtype != "bfloat16" for one in launches.libraries),
    )
