"""A sum over blocks of K that several programs share; the last to arrive goes on with the whole.

The parts are added in their order, so which program is the last changes nothing. `workspace` fp32
holds a slot [tokens, rows] a part; `arrived` int32 counts the parts of each tile, is zero before a
launch, and zero again after it. Launches in order may share both.
"""

import triton
import triton.language as tl


@triton.jit
def publish(products, other, workspace, arrived, SPLIT: tl.constexpr):
    """Write this program's part, of one product or two; True in the last program to do so."""
    SIZE: tl.constexpr = products.shape[0] * products.shape[1]
    SUMS: tl.constexpr = 1 if other is None else 2  # type: ignore[assignment]
    tile = tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
    slot = workspace + (tile.to(tl.int64) * SPLIT + tl.program_id(2)) * (SUMS * SIZE)
    places = _places(products.shape[0], products.shape[1])
    tl.store(slot + places, products)
    if other is not None:
        tl.store(slot + SIZE + places, other)
    # All threads' stores come before the count that tells of them.
    tl.debug_barrier()
    return tl.atomic_add(arrived + tile, 1, sem="acq_rel") == SPLIT - 1


@triton.jit
def collect(
    workspace,
    arrived,
    ROWS: tl.constexpr,
    TOKENS: tl.constexpr,
    SPLIT: tl.constexpr,
    SUMS: tl.constexpr,
    INDEX: tl.constexpr,
):
    """Sum INDEX of SUMS [ROWS, TOKENS] of all parts, for the last program; the count is 0 again."""
    tile = tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
    slots = workspace + tile.to(tl.int64) * (SPLIT * SUMS * ROWS * TOKENS)
    places = _places(ROWS, TOKENS)
    total = tl.zeros([ROWS, TOKENS], tl.float32)
    for part in tl.static_range(SPLIT):
        slot = slots + (part * SUMS + INDEX) * (ROWS * TOKENS)
        total += tl.load(slot + places, cache_modifier=".cg")
    tl.store(arrived + tile, 0)
    return total


@triton.jit
def _places(ROWS: tl.constexpr, TOKENS: tl.constexpr):
    return tl.arange(0, ROWS)[:, None] + tl.arange(0, TOKENS)[None, :] * ROWS
