"""The host arrays that paged attention is planned from, out of a step's lengths."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nacelle_engine.limits import TOKENS_PER_BLOCK

Int32s = NDArray[np.int32]


@dataclass(frozen=True)
class PlanArrays:
    """What FlashInfer's planners and kernels read of R requests; all int32.

    The block table [R, W] is used as it lies: request r's pages begin at r * W in its flat form.
    The kernels take a length as (rows[r + 1] - rows[r] - 1) * 32 + last_page[r], which is
    (W - 1) * 32 + last_page[r]: last_page makes up for a row's unused entries, may be negative.

    q_start    [R + 1]  request r owns the queries q_start[r] to q_start[r + 1] - 1
    seq_lens   [R]      tokens in the cache after the step
    pages      [R + 1]  prefix sums of the pages in use, which decode and fa2 are planned by
    rows       [R + 1]  r * W
    last_page  [R]      seq_lens - (W - 1) * 32
    """

    q_start: Int32s
    seq_lens: Int32s
    pages: Int32s
    rows: Int32s
    last_page: Int32s

    @property
    def requests(self) -> int:
        """R."""
        return len(self.seq_lens)

    @property
    def tokens(self) -> int:
        """Queries of all requests together."""
        return int(self.q_start[-1])


def plan_arrays(q_start: Int32s, seq_lens: Int32s, table_width: int) -> PlanArrays:
    """The arrays of a step whose block table is `table_width` blocks wide.

    Raises ValueError naming the field when the lengths contradict each other.
    """
    q_start, seq_lens = q_start.astype(np.int32), seq_lens.astype(np.int32)
    requests = len(seq_lens)
    if len(q_start) != requests + 1:
        raise ValueError(f"q_start: {len(q_start)} entries for {requests} requests; one more")
    queries = np.diff(q_start)
    if requests == 0 or q_start[0] != 0 or queries.min() < 0:
        raise ValueError("q_start: must rise from 0 and hold at least one request")
    if (seq_lens < np.maximum(queries, 1)).any():
        raise ValueError("seq_lens: a request has fewer tokens than the step runs for it, or none")
    used = -(-seq_lens // TOKENS_PER_BLOCK)
    if used.max() > table_width:
        raise ValueError(
            f"table_width: {table_width} blocks; the longest sequence takes {used.max()}"
        )
    return PlanArrays(
        q_start=q_start,
        seq_lens=seq_lens,
        pages=np.concatenate(([0], np.cumsum(used))).astype(np.int32),
        rows=np.arange(requests + 1, dtype=np.int32) * np.int32(table_width),
        last_page=seq_lens - np.int32((table_width - 1) * TOKENS_PER_BLOCK),
    )
