"""The tilings that are worth timing for an op over FP8 blocks."""

from collections.abc import Iterable
from typing import Final

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu.block_scales import COLUMNS, MOST_TOKENS
from nacelle_engine.ops.gpu.block_tiling import BlockTiling
from nacelle_engine.ops.gpu.capability import depends, fp8_converts, shared_memory

# Weight rows of a program -> (warps, stages, unroll); 4 warps multiply 64 rows at a time.
SHAPES: Final = {
    64: ((4, 6, 1), (4, 8, 1), (4, 6, 2), (4, 4, 2), (4, 4, 4), (4, 3, 4)),
    128: ((8, 4, 1), (8, 6, 1), (4, 4, 1), (4, 6, 1), (8, 8, 1), (8, 4, 2), (4, 4, 2), (8, 3, 4)),
    256: ((8, 4, 1), (8, 3, 1), (8, 5, 1), (4, 3, 1), (4, 4, 1), (8, 2, 1), (4, 3, 2)),
}
# As many programs as fill the 132 processors of an H200 once to three times.
FEWEST_PROGRAMS: Final = 90
MOST_PROGRAMS: Final = 400
# Elements of a program's sums that one thread can hold, with a block's sum of 128 rows beside them.
MOST_ELEMENTS: Final = 192


def tilings(
    row_counts: tuple[int, ...], rows: int, width: int, tokens: int, architecture: Architecture
) -> tuple[BlockTiling, ...]:
    """For weights [rows, width] in tiles of so many rows; the first is safe to take untimed.

    () where the architecture has no FP8, K is no multiple of 128, or the tokens are too many.
    """
    if not fp8_converts(architecture) or width % COLUMNS or tokens > MOST_TOKENS:
        return ()
    limit = shared_memory(architecture)
    blocks = width // COLUMNS
    found = [
        BlockTiling(count, size, warps, stages, split, unroll, dependent=depends(architecture))
        for count in row_counts
        for size in _token_counts(tokens)
        for warps, stages, unroll in SHAPES[count]
        if stages * unroll * (count + size) * COLUMNS <= limit
        if (count + min(count, COLUMNS)) * size <= MOST_ELEMENTS * warps * 32
        for split in _splits(-(-rows // count) * -(-tokens // size), blocks)
        if blocks % (split * unroll) == 0 or unroll == 1
    ]
    return tuple(found)


def _token_counts(tokens: int) -> Iterable[int]:
    # 16 at least: with 8, Triton multiplies in float16 on sm_90.
    whole = min(128, max(16, 1 << (tokens - 1).bit_length()))
    return (whole,) if whole <= 64 else (whole, 64)


def _splits(tiles: int, blocks: int) -> Iterable[int]:
    possible = [split for split in (1, 2, 4, 8, 16) if split <= blocks]
    enough = [s for s in possible if FEWEST_PROGRAMS <= tiles * s <= MOST_PROGRAMS]
    return enough or [possible[-1] if tiles < FEWEST_PROGRAMS else 1]
