"""Inputs of the kernels over FP8 blocks on the CPU, and what their results are checked by."""

import torch
from interpreted import run

from nacelle_engine.ops.gpu.block_scales import MOST_TOKENS, dequantised
from nacelle_engine.ops.gpu.block_tiling import BlockTiling

TOKENS = (1, 5, 17)


def tilings(*row_counts):
    """One program a sum and several, tokens in one tile and in more, blocks singly and in turns.

    For 4 or 8 blocks of K; three programs share them unevenly.
    """
    return [
        BlockTiling(rows, tokens, warps=4, stages=2, split=split, unroll=unroll)
        for rows in row_counts
        for tokens, split, unroll in ((16, 1, 1), (32, 1, 4), (16, 2, 2), (16, 3, 1))
    ]


def weights(rows, width):
    torch.manual_seed(rows + width)
    weight = (60 * torch.randn(rows, width)).to(torch.float8_e4m3fn)
    return weight, (0.5 + torch.rand(rows)) / (60 * width**0.5)


def padded(scales):
    """Scales [blocks, T] in their place among the most tokens; what lies behind is NaN."""
    whole = torch.full((len(scales), MOST_TOKENS), torch.nan)
    whole[:, : scales.shape[1]] = scales
    return whole


def empty_blocks(tokens, width):
    """codes and scales to be written, full of NaN."""
    codes = torch.full((tokens, width), 0x7F, dtype=torch.uint8).view(torch.float8_e4m3fn)
    return codes, torch.full((width // 128, MOST_TOKENS), torch.nan)


def launch(kernel, tiling, given, **sizes):
    """Run over what is given: None is what the shape has not. No count may be left behind."""
    if tiling.split > 1:
        elements, tiles = tiling.slots(len(given["weight"]), max(sizes.values()))
        given["workspace"] = torch.full((elements,), torch.nan)
        given["arrived"] = torch.zeros(tiles, dtype=torch.int32)
    run(kernel, {name: value for name, value in given.items() if value is not None}, **sizes)
    assert not given.get("arrived", torch.zeros(1)).any()


def error(found, expected):
    return float((found.float() - expected).norm() / expected.norm())


def check_blocks(codes, scales, expected_codes, expected_scales):
    """The same scales to rounding, the same codes but for roundings that fell to the other side."""
    tokens = len(codes)
    torch.testing.assert_close(scales[:, :tokens], expected_scales, rtol=1e-5, atol=0)
    assert torch.isnan(scales[:, tokens:]).all()
    assert float((codes.float() != expected_codes.float()).float().mean()) < 2e-3
    found = dequantised(codes, scales[:, :tokens])
    assert error(found, dequantised(expected_codes, expected_scales)) < 2e-3
