"""The tilings that are worth timing for a linear op: about ten for a number of tokens."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu.capability import shared_memory
from nacelle_engine.ops.gpu.tiling import Tiling, WeightType

# What (rows, bytes of K, warps, stages) are tried in, the first being right everywhere.
ONE_TOKEN: Final = (
    (16, 512, 4, 4),
    (16, 1024, 4, 3),
    (16, 1024, 8, 3),
    (8, 1024, 4, 4),
    (8, 2048, 4, 3),
    (4, 2048, 4, 4),
)
FEW_TOKENS: Final = (
    (64, 128, 4, 3),
    (64, 256, 4, 4),
    (64, 128, 4, 6),
    (32, 256, 2, 5),
    (32, 256, 4, 4),
    (128, 128, 4, 4),
)
MANY_TOKENS: Final = (
    (64, 128, 4, 3),
    (64, 128, 8, 4),
    (64, 256, 8, 3),
    (128, 64, 8, 4),
    (128, 128, 8, 3),
    (128, 128, 8, 4),
)
# Where shared memory is short (sm_89).
SMALL: Final = (
    (64, 128, 4, 3),
    (64, 64, 4, 4),
    (32, 128, 4, 4),
    (32, 128, 2, 3),
)
# For bf16, that tensor cores take from where it lies.
MANY_TOKENS_BF16: Final = (
    (128, 128, 8, 4),
    (64, 128, 4, 6),
    (128, 128, 4, 4),
    (128, 256, 8, 3),
    (256, 128, 8, 3),
    (256, 128, 8, 4),
    (256, 128, 16, 4),
)
# More programs than these gain nothing from sharing sums over K: three on each of 132 processors.
MOST_PROGRAMS: Final = 400


def tilings(
    rows: int, width: int, weight: WeightType, tokens: int, architecture: Architecture
) -> tuple[Tiling, ...]:
    """For weights [rows, width] and steps of `tokens`; the first is safe to take untimed."""
    size = 1 if weight == "fp8e4nv" else 2
    block = 1 if tokens == 1 else min(64, max(8, _power_of_2_from(tokens)))
    limit = shared_memory(architecture)
    plain = [
        Tiling(
            rows=row_count,
            width=min(row_bytes // size, _power_of_2_from(width)),
            tokens=block,
            warps=warps,
            stages=stages,
            bits=weight == "fp8e4nv" and architecture is Architecture.SM_80,
            dependent=_has_dependent_launch(architecture),
        )
        for row_count, row_bytes, warps, stages in _shapes(block, size, limit)
    ]
    found = [*plain, *_refined(plain, rows, width, weight, tokens, architecture)]
    return tuple(dict.fromkeys(tiling for tiling in found if _shared(tiling, size) <= limit))


def _shapes(block: int, size: int, limit: int) -> tuple[tuple[int, int, int, int], ...]:
    if block == 1:
        return ONE_TOKEN
    if limit < 128 * 1024:
        return SMALL
    if block <= 32:
        return FEW_TOKENS
    return MANY_TOKENS if size == 1 else MANY_TOKENS_BF16


def _refined(
    plain: Iterable[Tiling],
    rows: int,
    width: int,
    weight: WeightType,
    tokens: int,
    architecture: Architecture,
) -> Iterable[Tiling]:
    """More ways: sums shared by programs, prefetching, larger blocks, codes moved as bytes."""
    for tiling in plain:
        programs, tiles = -(-rows // tiling.rows), -(-width // tiling.width)
        wide = tiling.width * tiling.rows >= 64 * 256
        if _has_dependent_launch(architecture) and (tokens == 1 or (wide and tokens <= 64)):
            yield replace(tiling, prefetch=True)
        for split in (2, 4):
            if tiling.tokens > 1 and wide and split <= tiles and programs * split <= MOST_PROGRAMS:
                yield replace(tiling, split=split)
        if tiling.tokens == 64 and tokens > 64:
            yield replace(tiling, tokens=128)
        if tiling.tokens > 1 and wide and weight == "fp8e4nv" and not tiling.bits:
            yield replace(tiling, bits=True)


def _has_dependent_launch(architecture: Architecture) -> bool:
    return (architecture.compute_capability or (0, 0)) >= (9, 0)


def _shared(tiling: Tiling, size: int) -> int:
    """Bytes of shared memory: tiles of weights and activations on their way, one in use."""
    activations = tiling.width * tiling.tokens * 2
    return tiling.stages * (tiling.rows * tiling.width * size + activations) + activations


def _power_of_2_from(number: int) -> int:
    return 1 << (number - 1).bit_length()
