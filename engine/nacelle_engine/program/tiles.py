"""The plan of prefill attention: which query tokens of which request each tile takes.

A tile covers up to `block_q` tokens of one request: the tokens tile_first to
min(tile_first + block_q, q_start[tile_request + 1]) - 1 of the step.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

PADDING = -1

Plan = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]


def tiles(q_start: Sequence[int] | npt.NDArray[np.int32], block_q: int) -> Plan:
    """(tile_request, tile_first), int32 [Q], from q_start [R + 1].

    The latest tokens of their requests come first: they see the most positions, and long programs
    that start last would leave the GPU half idle at the end.
    """
    borders = np.asarray(q_start, dtype=np.int32)
    counts = -(-np.diff(borders) // block_q)
    request = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    ordinal = np.arange(len(request), dtype=np.int32) - np.repeat(
        np.cumsum(counts) - counts, counts
    )
    order = np.argsort(-ordinal, kind="stable")
    first = borders[request] + ordinal * block_q
    return request[order].astype(np.int32), first[order].astype(np.int32)


def most_tiles(tokens: int, requests: int, block_q: int) -> int:
    """The most tiles that a step of `tokens` tokens in `requests` requests can have."""
    return min(tokens, requests + (tokens - requests) // block_q) if tokens > requests else tokens


def padded(plan: Plan, count: int) -> Plan:
    """The plan with padding after it, `count` tiles in all: for a captured graph of that size."""
    request, first = plan
    extra = count - len(request)
    if extra < 0:
        raise ValueError(
            f"the plan has {len(request)} tiles, more than the {count} it is padded to"
        )
    return (
        np.pad(request, (0, extra), constant_values=PADDING),
        np.pad(first, (0, extra)),
    )
