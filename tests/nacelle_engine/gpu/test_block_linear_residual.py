"""block_linear_residual against its formula: the stream in place, and its FP8 blocks."""

import pytest
import torch
from block_cases import (
    TOKENS,
    check_blocks,
    empty_blocks,
    error,
    launch,
    padded,
    tilings,
    weights,
)

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu import block_linear_residual
from nacelle_engine.ops.gpu.block_scales import quantised, stream

ROWS = 256


def found(shape, tiling, a, weight, scale, norm, x):
    """x, codes, scales and squares afterwards; `a` are codes and scales."""
    tokens = len(x)
    codes, scales = empty_blocks(tokens, ROWS)
    x, squares = x.clone(), torch.full_like(scales, torch.nan)
    given = {
        "a_codes": a[0],
        "a_scales": padded(a[1]),
        "weight": weight,
        "scale": scale,
        "norm": norm,
        "x": x,
        "x_codes": codes,
        "x_scales": scales,
        "x_squares": squares,
        "T": tokens,
    }
    launch(block_linear_residual.kernel(shape, tiling), tiling, given, T=tokens)
    return x, codes, scales, squares


def inputs(tokens, shape):
    torch.manual_seed(tokens)
    a = quantised(torch.randn(tokens, shape.width), shape.block)
    norm = (1 + 0.1 * torch.randn(ROWS)).bfloat16()
    return a, norm, (2 * torch.randn(tokens, ROWS)).bfloat16()


@pytest.mark.parametrize("tiling", tilings(128), ids=lambda tiling: tiling.name)
@pytest.mark.parametrize(("width", "block"), [(512, 128), (1024, 256)])
def test_the_formula(tiling, width, block):
    shape = block_linear_residual.Shape(ROWS, width, block)
    weight, scale = weights(ROWS, width)
    for tokens in TOKENS:
        a, norm, x = inputs(tokens, shape)
        added, codes, scales, squares = found(shape, tiling, a, weight, scale, norm, x)
        expected = block_linear_residual.reference(*a, weight, scale, norm, x)[0]
        assert error(added, expected) < 2.5e-3
        # The blocks are those of the x that was kept, whichever way it was rounded.
        wanted = stream(added, norm)
        check_blocks(codes, scales, *wanted[:2])
        torch.testing.assert_close(squares[:, :tokens], wanted[2], rtol=1e-5, atol=0)
        assert torch.isnan(squares[:, tokens:]).all()


@pytest.mark.parametrize("tiling", tilings(128), ids=lambda tiling: tiling.name)
def test_a_row_is_the_same_in_any_batch(tiling):
    shape = block_linear_residual.Shape(ROWS, 512)
    weight, scale = weights(ROWS, 512)
    (codes, scales), norm, x = inputs(17, shape)
    together = found(shape, tiling, (codes, scales), weight, scale, norm, x)
    for token in (0, 16):
        one = slice(token, token + 1)
        a = codes[one], scales[:, one]
        alone = found(shape, tiling, a, weight, scale, norm, x[one])
        assert torch.equal(alone[0][0], together[0][token])
        assert torch.equal(alone[1][0].view(torch.uint8), together[1][token].view(torch.uint8))
        assert torch.equal(alone[2][:, 0], together[2][:, token])


@pytest.mark.parametrize(("rows", "block"), [(192, 128), (256, 64)])
def test_it_is_not_offered_for_other_blocks(rows, block):
    shape = block_linear_residual.Shape(rows, 512, block)
    assert block_linear_residual.choices(shape, 8, Architecture.SM_90) == ()
