"""The tilings that are worth timing for an op over FP8 blocks."""

from collections.abc import Iterable
from typing import Final

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu.block_scales import COLUMNS, MOST_TOKENS
from nacelle_engine.ops.gpu.block_tiling import BlockTiling
from nacelle_engine.ops.gpu.candidates import SHARED
from nacelle_engine.ops.gpu.capability import depends

# Weight rows of a program -> (warps, stages); 4 warps multiply 64 rows at a time.
SHAPES: Final = {
    64: ((4, 6), (4, 8)),
    128: ((8, 4), (8, 6), (4, 4), (4, 6)),
    256: ((8, 4), (8, 3), (8, 5), (4, 3), (4, 4), (8, 2)),
}
# Where shared memory is short (sm_89).
SMALL: Final = {
    64: ((4, 4), (4, 6)),
    128: ((4, 3), (8, 3)),
    256: ((8, 2),),
}
# As many programs as fill the 132 processors of an H200 once to three times.
FEWEST_PROGRAMS: Final = 90
MOST_PROGRAMS: Final = 400
# Elements of a program's sums that one thread can hold, with a block's sum of 128 rows beside them.
MOST_ELEMENTS: Final = 192
# Blocks of a row that are worth asking for early: 1 KiB.
AHEAD: Final = 8


def tilings(
    row_counts: tuple[int, ...], rows: int, width: int, tokens: int, architecture: Architecture
) -> tuple[BlockTiling, ...]:
    """For weights [rows, width] in tiles of so many rows; the first is safe to take untimed.

    () where the architecture has no FP8, K is no multiple of 128, or the tokens are too many.
    """
    capability = architecture.compute_capability or (0, 0)
    if capability < (8, 9) or width % COLUMNS or tokens > MOST_TOKENS:
        return ()
    limit = SHARED[architecture] * 1024
    shapes = SHAPES if limit > 128 * 1024 else SMALL
    dependent = depends(architecture)
    found = [
        BlockTiling(count, size, warps, stages, split, ahead, dependent)
        for count in row_counts
        for size in _token_counts(tokens)
        for warps, stages in shapes[count]
        if stages * (count + size) * COLUMNS <= limit
        if (count + min(count, COLUMNS)) * size <= MOST_ELEMENTS * warps * 32
        for split in _splits(-(-rows // count) * -(-tokens // size), width // COLUMNS)
        for ahead in ((0, AHEAD) if dependent else (0,))
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
