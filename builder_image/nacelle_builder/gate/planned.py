"""The steps whose attention a prebuilt library does: what they round, how the gate runs them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from nacelle_builder.gate.fake_quantise import Rounding
from nacelle_builder.gate.steps import Phase, Span, phase
from nacelle_engine.limits import Limits
from nacelle_engine.program.launch import LaunchList, StepRange

# Beyond a range's first size, so that neither borders nor tiles are met exactly.
_BEYOND: Final = 43
_UNEVEN: Final = 13


@dataclass(frozen=True)
class PlannedSteps:
    """ranges: of those steps; fp8_queries: whether queries are rounded in them."""

    ranges: tuple[StepRange, ...] = ()
    fp8_queries: bool = False

    def rounding(self, spans: Sequence[Span], rounding: Rounding) -> Rounding:
        """What a step of these spans rounds, of a numerics class that rounds so."""
        tokens = sum(span.count for span in spans)
        planned = any(one.takes(tokens, len(spans), decode=False) for one in self.ranges)
        return replace(rounding, queries=True) if planned and self.fp8_queries else rounding

    def phases(self, limits: Limits) -> tuple[Phase, ...]:
        """Prompts in a step of each range, and where sequences may be so long the rest of them."""
        return tuple(_phase(one, limits) for one in self.ranges)


NONE_PLANNED: Final = PlannedSteps()


def planned_steps(launches: LaunchList) -> PlannedSteps:
    """What a launch list leaves to libraries."""
    return PlannedSteps(
        ranges=tuple(one for one in launches.steps if one.planned),
        fp8_queries=any(one.library.query_dtype != "bfloat16" for one in launches.libraries),
    )


def _phase(one: StepRange, limits: Limits) -> Phase:
    size, least = min(one.min_tokens + _BEYOND, one.max_tokens), one.tokens_a_request
    steps, count = 2, _sequences(2 * size, limits)
    if count * least > size:
        steps, count = 1, _sequences(size, limits)
    share = size // count
    uneven = max(min(_UNEVEN, share - least), 0)
    first = [share] * count
    first[0] += size - share * count + uneven
    first[-1] -= uneven
    columns = (first, first[::-1])[:steps]
    return phase(f"prompts in steps of {size} tokens", list(zip(*columns, strict=True)), limits)


def _sequences(tokens: int, limits: Limits) -> int:
    """How many sequences it takes to hold so many tokens; two at least, so that they are ragged."""
    return max(2, -(-tokens // limits.max_seq_len))
