"""block_gate_up against its formula, with both activations."""

import pytest
import torch
from block_cases import (
    TOKENS,
    check_blocks,
    empty_blocks,
    launch,
    padded,
    tilings,
    weights,
)

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu import block_gate_up
from nacelle_engine.ops.gpu.block_scales import quantised, stream

EPS = 1e-5
ROWS, WIDTH = 256, 512


def inputs(tokens):
    torch.manual_seed(tokens)
    x = (3 * torch.randn(tokens, WIDTH)).bfloat16()
    return stream(x, (1 + 0.1 * torch.randn(WIDTH)).bfloat16())


def found(shape, tiling, blocks, weight, scale):
    codes, scales, squares = blocks
    inner = empty_blocks(len(codes), shape.rows)
    given = {
        "x_codes": codes,
        "x_scales": padded(scales),
        "x_squares": padded(squares),
        "weight": weight,
        "scale": scale,
        "inner_codes": inner[0],
        "inner_scales": inner[1],
        "T": len(codes),
    }
    launch(block_gate_up.kernel(shape, tiling), tiling, given, T=len(codes))
    return inner


@pytest.mark.parametrize("tiling", tilings(256), ids=lambda tiling: tiling.name)
@pytest.mark.parametrize("activation", ["silu", "gelu_tanh"])
def test_the_formula(tiling, activation):
    shape = block_gate_up.Shape(ROWS, WIDTH, EPS, activation)
    weight, scale = weights(2 * ROWS, WIDTH)
    for tokens in TOKENS:
        blocks = inputs(tokens)
        codes, scales = found(shape, tiling, blocks, weight, scale)
        inner = block_gate_up.reference(*blocks, weight, scale, EPS, activation)
        check_blocks(codes, scales, *quantised(inner))


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")
def test_large_gates_stay_finite():
    shape = block_gate_up.Shape(128, WIDTH, EPS)
    weight, scale = weights(256, WIDTH)
    codes, scales = found(shape, tilings(256)[0], inputs(3), weight, 200 * scale)
    assert torch.isfinite(codes.float()).all()
    assert torch.isfinite(scales[:, :3]).all()


@pytest.mark.parametrize("tiling", tilings(256)[1:3], ids=lambda tiling: tiling.name)
def test_a_row_is_the_same_in_any_batch(tiling):
    shape = block_gate_up.Shape(128, WIDTH, EPS)
    weight, scale = weights(256, WIDTH)
    blocks = inputs(17)
    together = found(shape, tiling, blocks, weight, scale)
    codes, scales, squares = blocks
    for token in (0, 16):
        one = slice(token, token + 1)
        alone = found(shape, tiling, (codes[one], scales[:, one], squares[:, one]), weight, scale)
        assert torch.equal(alone[0][0].view(torch.uint8), together[0][token].view(torch.uint8))


def test_it_is_not_offered_for_other_shapes():
    shape = block_gate_up.Shape(192, 512, EPS)
    assert block_gate_up.choices(shape, 8, Architecture.SM_90) == ()
