"""Which mixed steps (prompts and chunks beside decode) are captured, and which one a step takes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from nacelle_engine.program.launch import CAPTURED_TOKENS, LaunchList

# Every captured size has a graph for so few requests too: tiles of queries that nobody needs, and a
# table of many rows, cost more than the graph.
_FEW_REQUESTS: Final = 16
_TOKENS_APART: Final = 32


@dataclass(frozen=True, order=True)
class MixedSize:
    """A captured step's tokens and requests; steps of fewer of both are padded to it."""

    tokens: int
    requests: int


def mixed_sizes(
    ends: Iterable[int], max_num_tokens: int, max_batch_size: int
) -> tuple[MixedSize, ...]:
    """The captured sizes, ascending, from an engine's limits.

    ends  the last sizes of the ranges of steps: a step and the size that it is padded to are of one
          range, so that its tokens go through the launches that they take without a graph
    """
    most = min(CAPTURED_TOKENS, max_num_tokens)
    counts = {*range(_TOKENS_APART, most, _TOKENS_APART), *ends, most}
    return tuple(
        MixedSize(tokens, requests)
        for tokens in sorted(count for count in counts if 2 <= count <= most)
        for requests in sorted(
            {min(tokens, max_batch_size, few) for few in (_FEW_REQUESTS, tokens)}
        )
    )


def sizes_for(
    launches: LaunchList, max_num_tokens: int, max_batch_size: int
) -> tuple[MixedSize, ...]:
    """The captured sizes of an engine's launch list."""
    ends = [step.max_tokens for step in launches.steps if not step.decode]
    return mixed_sizes(ends, max_num_tokens, max_batch_size)


def fitting(sizes: Sequence[MixedSize], tokens: int, requests: int) -> MixedSize | None:
    """The first of the sizes that holds a step of so much; None: it is run without a graph."""
    return next(
        (size for size in sizes if size.tokens >= tokens and size.requests >= requests), None
    )
