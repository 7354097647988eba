"""block_input against its formula."""

import pytest
import torch
from block_cases import check_blocks, empty_blocks
from interpreted import run

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu import block_input
from nacelle_engine.ops.gpu.block_scales import dequantised


@pytest.mark.parametrize("tokens", [1, 3, 17])
@pytest.mark.parametrize("size", [1, 4, 16])
def test_the_formula(tokens, size):
    torch.manual_seed(tokens)
    x = torch.randn(tokens, 384).bfloat16()
    x[0, 128:256] = 0
    norm = (1 + 0.1 * torch.randn(384)).bfloat16()
    codes, scales = empty_blocks(tokens, 384)
    squares = torch.full_like(scales, torch.nan)
    kernel = block_input.kernel(block_input.Shape(384), block_input.Choice(size, 4))
    given = {
        "x": x,
        "norm": norm,
        "x_codes": codes,
        "x_scales": scales,
        "x_squares": squares,
        "T": tokens,
    }
    run(kernel, given, T=tokens)
    wanted = block_input.reference(x, norm)
    check_blocks(codes, scales, *wanted[:2])
    torch.testing.assert_close(squares[:, :tokens], wanted[2], rtol=1e-5, atol=0)
    # E4M3 has 3 bits behind the point: at most 1/16 of an element.
    values = x.float() * norm.float()
    error = (dequantised(codes, scales) - values).abs()
    assert bool((error <= values.abs() / 16 + scales[:, :tokens].max() * 2**-10).all())


def test_it_is_not_offered_for_other_shapes():
    shape = block_input.Shape(512)
    assert block_input.choices(block_input.Shape(576), 8, Architecture.SM_90) == ()
    assert block_input.choices(shape, 8, Architecture.SM_80) == ()
    assert block_input.choices(shape, 257, Architecture.SM_90) == ()
    assert [each.tokens for each in block_input.choices(shape, 2, Architecture.SM_90)] == [2]
