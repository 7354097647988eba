"""block_linear against its formula, and what it is not offered for."""

import pytest
import torch
from block_cases import TOKENS, error, launch, padded, tilings, weights

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu import block_linear
from nacelle_engine.ops.gpu.block_scales import stream

EPS = 1e-5
WIDTH = 512


def inputs(tokens, width=WIDTH):
    torch.manual_seed(tokens)
    x = (3 * torch.randn(tokens, width)).bfloat16()
    return stream(x, (1 + 0.1 * torch.randn(width)).bfloat16())


def found(shape, tiling, blocks, weight, scale, bias=None):
    codes, scales, squares = blocks
    out = torch.full((len(codes), shape.rows), torch.nan).bfloat16()
    given = {
        "x_codes": codes,
        "x_scales": padded(scales),
        "x_squares": padded(squares),
        "weight": weight,
        "scale": scale,
        "bias": bias,
        "out": out,
        "T": len(codes),
    }
    launch(block_linear.kernel(shape, tiling), tiling, given, T=len(codes))
    return out


@pytest.mark.parametrize("tiling", tilings(64, 128), ids=lambda tiling: tiling.name)
@pytest.mark.parametrize("biased", [False, True])
def test_the_formula(tiling, biased):
    shape = block_linear.Shape(208, WIDTH, EPS, biased)
    weight, scale = weights(208, WIDTH)
    bias = torch.randn(208).bfloat16() if biased else None
    for tokens in TOKENS:
        blocks = inputs(tokens)
        out = found(shape, tiling, blocks, weight, scale, bias)
        expected = block_linear.reference(*blocks, weight, scale, bias, EPS)
        # One rounding to bfloat16: 1.6e-3 in the root mean square.
        assert error(out, expected) < 2.5e-3


def test_it_is_the_norm_and_projection_of_x():
    torch.manual_seed(0)
    x = torch.randn(9, WIDTH).bfloat16()
    norm = (1 + 0.1 * torch.randn(WIDTH)).bfloat16()
    weight, scale = weights(64, WIDTH)
    out = block_linear.reference(*stream(x, norm), weight, scale, None, EPS)
    wide = x.float()
    normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + EPS) * norm.float()
    # E4M3 has 3 bits behind the point: 2.6 % in the root mean square.
    assert error(out, normed @ (weight.float() * scale[:, None]).T) < 0.035


@pytest.mark.parametrize("tiling", tilings(64)[1:], ids=lambda tiling: tiling.name)
def test_a_row_is_the_same_in_any_batch(tiling):
    shape = block_linear.Shape(64, WIDTH, EPS)
    weight, scale = weights(64, WIDTH)
    blocks = inputs(17)
    together = found(shape, tiling, blocks, weight, scale)
    for token in (0, 16):
        one = slice(token, token + 1)
        codes, scales, squares = blocks
        alone = found(shape, tiling, (codes[one], scales[:, one], squares[:, one]), weight, scale)
        assert torch.equal(alone[0], together[token])


@pytest.mark.parametrize(
    ("width", "tokens", "architecture"),
    [
        (4096, 8, Architecture.SM_80),
        (4160, 8, Architecture.SM_90),
        (4096, 257, Architecture.SM_90),
    ],
)
def test_it_is_not_offered_for_other_shapes(width, tokens, architecture):
    shape = block_linear.Shape(64, width, EPS)
    assert block_linear.choices(shape, tokens, architecture) == ()


@pytest.mark.parametrize("tokens", [1, 8, 64, 128, 256])
def test_its_tilings_fill_the_processors(tokens):
    shape = block_linear.Shape(6144, 4096, EPS)
    for architecture in (Architecture.SM_89, Architecture.SM_90, Architecture.SM_100):
        found = block_linear.choices(shape, tokens, architecture)
        assert len({tiling.name for tiling in found}) == len(found) > 2
        programs = [
            -(-6144 // each.rows) * -(-tokens // each.tokens) * each.split for each in found
        ]
        assert min(programs) >= 90
