"""Which tilings are worth timing, by architecture and number of tokens."""

import pytest

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu.candidates import tilings
from nacelle_engine.ops.gpu.capability import shared_memory
from nacelle_engine.ops.gpu.tiling import Tiling

GPUS = [place for place in Architecture if not place.is_cpu]
TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 129)


@pytest.mark.parametrize("architecture", GPUS)
@pytest.mark.parametrize("weight", ["fp8e4nv", "bf16"])
def test_every_point_has_candidates_without_a_repeat(architecture, weight):
    for rows, width in ((6144, 4096), (4096, 14336), (576, 1536), (49152, 576)):
        for tokens in TOKENS:
            found = tilings(rows, width, weight, tokens, architecture)
            assert 3 <= len(found) == len(set(found)) <= 24
            assert all(tiling.split * tiling.width < width + tiling.width for tiling in found)


def test_a_shared_sum_has_a_tile_for_each_program():
    for tiling in tilings(256, 512, "fp8e4nv", 8, Architecture.SM_90):
        assert tiling.split <= -(-512 // tiling.width)


def test_sm_80_never_converts_fp8():
    found = tilings(6144, 4096, "fp8e4nv", 16, Architecture.SM_80)
    assert all(tiling.bits for tiling in found)
    assert not any(tiling.bits for tiling in tilings(64, 64, "bf16", 16, Architecture.SM_80))


@pytest.mark.parametrize("architecture", GPUS)
def test_dependent_launches_and_prefetches_need_hopper(architecture):
    hopper = architecture in (Architecture.SM_90, Architecture.SM_100)
    for tokens in TOKENS:
        found = tilings(6144, 4096, "fp8e4nv", tokens, architecture)
        assert all(tiling.dependent == hopper for tiling in found)
        assert hopper or not any(tiling.prefetch for tiling in found)


def test_a_block_of_tokens_fits_the_step():
    blocks = {
        tokens: tilings(6144, 4096, "fp8e4nv", tokens, Architecture.SM_90)[0].tokens
        for tokens in (1, 2, 9, 33, 64, 500)
    }
    assert blocks == {1: 1, 2: 8, 9: 16, 33: 64, 64: 64, 500: 64}


def test_little_shared_memory_leaves_small_tiles():
    for tiling in tilings(6144, 4096, "fp8e4nv", 64, Architecture.SM_89):
        weights, activations = tiling.rows * tiling.width, tiling.tokens * tiling.width * 2
        assert tiling.stages * (weights + activations) <= shared_memory(Architecture.SM_89)


def test_prefetching_takes_a_thread_for_each_row():
    with pytest.raises(ValueError, match="128 rows need more than 2 warps"):
        Tiling(128, 128, 16, 2, 4, prefetch=True)


def test_workspace_counts_products_and_squares_of_each_part():
    tiling = Tiling(64, 256, 16, 4, 4, split=4)
    assert tiling.slots(4096, 17) == (64 * 2 * 4 * (64 + 1) * 16, 128)
    assert Tiling(64, 256, 16, 4, 4).slots(4096, 17) == (0, 0)
