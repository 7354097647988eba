"""A sum over K that several programs share: the last to arrive adds the parts, in their order.

Which program is the last changes nothing in the result. `workspace` fp32 holds a slot a part: its
products [BLOCK_N, BLOCK_T], then its squares [BLOCK_T]; `arrived` int32 counts the parts of each
tile, is zero before a launch, and zero again after it. Launches in order may share both.
"""

import triton
import triton.language as tl


@triton.jit
def part_bounds(K: tl.constexpr, BLOCK_K: tl.constexpr, SPLIT: tl.constexpr):
    """The columns, in whole tiles, of this program's part; SPLIT is at most the number of tiles."""
    if SPLIT == 1:
        begin = 0
        end = K
    else:
        part = tl.program_id(2)
        begin = part * tl.cdiv(K, BLOCK_K) // SPLIT * BLOCK_K
        end = (part + 1) * tl.cdiv(K, BLOCK_K) // SPLIT * BLOCK_K
    return begin, end


@triton.jit
def add_parts(products, squares, workspace, arrived, SPLIT: tl.constexpr):
    """The whole sums and True in the program that has to use them; a part and False elsewhere."""
    last = True
    if SPLIT > 1:
        BLOCK_N: tl.constexpr = products.shape[0]
        BLOCK_T: tl.constexpr = products.shape[1]
        tile = tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
        slots = workspace + tile.to(tl.int64) * (SPLIT * (BLOCK_N + 1) * BLOCK_T)
        tokens = tl.arange(0, BLOCK_T)
        places = tl.arange(0, BLOCK_N)[:, None] + tokens[None, :] * BLOCK_N
        slot = slots + tl.program_id(2) * ((BLOCK_N + 1) * BLOCK_T)
        tl.store(slot + places, products)
        tl.store(slot + BLOCK_N * BLOCK_T + tokens, squares)
        # All threads' stores come before the count that tells of them.
        tl.debug_barrier()
        last = tl.atomic_add(arrived + tile, 1, sem="acq_rel") == SPLIT - 1
        if last:
            products = tl.zeros_like(products)
            squares = tl.zeros_like(squares)
            for part in tl.static_range(SPLIT):
                slot = slots + part * ((BLOCK_N + 1) * BLOCK_T)
                products += tl.load(slot + places, cache_modifier=".cg")
                squares += tl.load(slot + BLOCK_N * BLOCK_T + tokens, cache_modifier=".cg")
            tl.store(arrived + tile, 0)
    return products, squares, last
