"""A sum over blocks of K that several programs share; the last to arrive goes on with the whole.

The parts are added in their order, so which program is the last changes nothing. `workspace` fp32
holds a slot [tokens, rows] a part; `arrived` int32 counts the parts of each tile, is zero before a
launch, and zero again after it. Launches in order may share both.
"""

import triton
import triton.language as tl


@triton.jit
def publish(products, workspace, arrived, SPLIT: tl.constexpr):
    """Write this program's part; True in the program that was the last to do so."""
    ROWS: tl.constexpr = products.shape[0]
    TOKENS: tl.constexpr = products.shape[1]
    tile = tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
    slot = tile.to(tl.int64) * SPLIT + tl.program_id(2)
    places = tl.arange(0, ROWS)[:, None] + tl.arange(0, TOKENS)[None, :] * ROWS
    tl.store(workspace + slot * (ROWS * TOKENS) + places, products)
    # All threads' stores come before the count that tells of them.
    tl.debug_barrier()
    return tl.atomic_add(arrived + tile, 1, sem="acq_rel") == SPLIT - 1


@triton.jit
def collect(workspace, arrived, ROWS: tl.constexpr, TOKENS: tl.constexpr, SPLIT: tl.constexpr):
    """The sum of all parts [ROWS, TOKENS], for the last program; the count is zero again."""
    tile = tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
    slots = workspace + tile.to(tl.int64) * (SPLIT * ROWS * TOKENS)
    places = tl.arange(0, ROWS)[:, None] + tl.arange(0, TOKENS)[None, :] * ROWS
    total = tl.zeros([ROWS, TOKENS], tl.float32)
    for part in tl.static_range(SPLIT):
        total += tl.load(slots + part * (ROWS * TOKENS) + places, cache_modifier=".cg")
    tl.store(arrived + tile, 0)
    return total
