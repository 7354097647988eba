"""Old positions of the cache brought into the L2 while the predecessor still runs."""

import triton
import triton.language as tl

from nacelle_engine.ops.gpu.paged_kv import rows

# Tiles that a program prefetches: few, so that all programs' together stay inside the L2.
TILES = tl.constexpr(2)


@triton.jit
def prefetch(keys, table, begin, end, KEYS: tl.constexpr, KV_HEADS: tl.constexpr, D: tl.constexpr):
    """Ask for K and V of positions `begin` to `end` - 1, of the first tiles of KEYS only."""
    LINE: tl.constexpr = min(D, 1024 // keys.dtype.element_ty.primitive_bitwidth)
    LINES: tl.constexpr = triton.next_power_of_2((D + LINE - 1) // LINE)
    lines = tl.minimum(tl.arange(0, LINES)[None, :] * LINE, D - 1)
    for start in range(begin, tl.minimum(begin + TILES * KEYS, end), KEYS):
        position = tl.minimum(start + tl.arange(0, KEYS), end - 1)
        k = keys + rows(table, position, KV_HEADS, D)[:, None] + lines
        _ask(k)
        _ask(k + KV_HEADS * 32 * D)


@triton.jit
def _ask(pointers):
    tl.inline_asm_elementwise(
        "prefetch.global.L2 [$1]; // $0",
        "=r,l",
        [pointers.to(tl.int64)],
        dtype=tl.int32,
        is_pure=False,
        pack=1,
    )
