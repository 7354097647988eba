"""norm_linear against its formula over odd shapes; a row never depends on its batch."""

import pytest
import torch
from linear_cases import (
    ROUNDING,
    TILINGS,
    TOKENS,
    Guarded,
    activations,
    error,
    launch,
    norm_of,
    weights,
)

from nacelle_engine.ops.gpu import norm_linear


def found(shape, tiling, x, norm, weight, scale, bias):
    out = Guarded(x.shape[0], shape.rows)
    given = {
        "x": x,
        "norm": norm,
        "weight": weight,
        "scale": scale,
        "bias": bias,
        "out": out.tensor,
        "T": x.shape[0],
    }
    launch(norm_linear.kernel(shape, tiling), tiling, given, T=x.shape[0])
    return out.checked()


@pytest.mark.parametrize("tiling", TILINGS, ids=lambda tiling: tiling.name)
@pytest.mark.parametrize("weight", ["fp8e4nv", "bf16"])
@pytest.mark.parametrize("bias", [False, True])
def test_the_formula(tiling, weight, bias):
    shape = norm_linear.Shape(rows=40, width=96, eps=1e-5, weight=weight, bias=bias)
    for tokens in TOKENS:
        x, norm = activations(tokens, shape.width), norm_of(shape.width)
        matrix, scale = weights(shape.rows, shape.width, weight)
        added = torch.randn(shape.rows).bfloat16() if bias else None
        out = found(shape, tiling, x, norm, matrix, scale, added)
        expected = norm_linear.reference(x, norm, matrix, scale, added, shape.eps)
        # Blocks of tokens also round x * norm.
        assert error(out, expected) < ROUNDING * (1 if tiling.tokens == 1 else 2)


@pytest.mark.parametrize("tiling", TILINGS, ids=lambda tiling: tiling.name)
def test_a_row_is_the_same_in_any_batch(tiling):
    shape = norm_linear.Shape(rows=48, width=160, eps=1e-6)
    x, norm = activations(9, shape.width), norm_of(shape.width)
    matrix, scale = weights(shape.rows, shape.width)
    together = found(shape, tiling, x, norm, matrix, scale, None)
    for token in (0, 4, 8):
        one = x[token : token + 1].clone()
        alone = found(shape, tiling, one, norm, matrix, scale, None)
        assert torch.equal(alone[0], together[token])


def test_eps_counts():
    shape = norm_linear.Shape(rows=16, width=32, eps=0.5)
    x, norm = activations(2, 32) / 16, norm_of(32)
    matrix, scale = weights(16, 32)
    out = found(shape, TILINGS[0], x, norm, matrix, scale, None)
    assert error(out, norm_linear.reference(x, norm, matrix, scale, None, 0.5)) < ROUNDING


def test_zero_rows_stay_finite():
    shape = norm_linear.Shape(rows=16, width=32, eps=1e-6)
    matrix, scale = weights(16, 32)
    out = found(shape, TILINGS[2], torch.zeros(2, 32).bfloat16(), norm_of(32), matrix, scale, None)
    assert torch.equal(out, torch.zeros_like(out))


def test_the_name_tells_shape_and_choices_apart():
    shapes = [
        norm_linear.Shape(16, 32, 1e-5),
        norm_linear.Shape(16, 32, 1e-6),
        norm_linear.Shape(16, 32, 1e-5, bias=True),
        norm_linear.Shape(16, 32, 1e-5, weight="bf16"),
        norm_linear.Shape(32, 32, 1e-5),
    ]
    names = {norm_linear.kernel(shape, tiling).name for shape in shapes for tiling in TILINGS}
    assert len(names) == len(shapes) * len(TILINGS)
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-.") for name in names)
