"""linear_residual against its formula over odd shapes, in place."""

import pytest
import torch
from linear_cases import ROUNDING, TILINGS, TOKENS, Guarded, activations, error, launch, weights

from nacelle_engine.ops.gpu import linear_residual


def found(shape, tiling, a, weight, scale, x, bias=None):
    held = Guarded(a.shape[0], shape.rows)
    if shape.residual:
        held.tensor.copy_(x)
    given = {
        "a": a,
        "weight": weight,
        "scale": scale,
        "bias": bias,
        "x" if shape.residual else "out": held.tensor,
        "T": a.shape[0],
    }
    launch(linear_residual.kernel(shape, tiling), tiling, given, T=a.shape[0])
    return held.checked()


@pytest.mark.parametrize("tiling", TILINGS, ids=lambda tiling: tiling.name)
@pytest.mark.parametrize("weight", ["fp8e4nv", "bf16"])
@pytest.mark.parametrize(
    ("rows", "width", "bias", "residual"),
    [(48, 64, False, True), (40, 96, True, True), (40, 64, False, False)],
)
def test_the_formula(tiling, weight, rows, width, bias, residual):
    shape = linear_residual.Shape(rows, width, weight, bias, residual)
    for tokens in TOKENS:
        a, x = activations(tokens, width), activations(tokens, rows) if residual else None
        matrix, scale = weights(rows, width, weight)
        added = 3 * torch.randn(rows).bfloat16() if bias else None
        out = found(shape, tiling, a, matrix, scale, x, added)
        assert error(out, linear_residual.reference(a, matrix, scale, added, x)) < ROUNDING


@pytest.mark.parametrize("tiling", TILINGS, ids=lambda tiling: tiling.name)
def test_the_sum_is_rounded_once(tiling):
    # 256 + (1 + 2^-9) lies above the middle of 256 and 258; a product rounded to 1 lies on it.
    shape = linear_residual.Shape(16, 64)
    a = torch.zeros(1, 64).bfloat16()
    a[0, 0], a[0, 1] = 1, 2**-9
    weight = torch.ones(16, 64).to(torch.float8_e4m3fn)
    x = torch.full((1, 16), 256.0).bfloat16()
    out = found(shape, tiling, a, weight, torch.ones(16), x)
    assert torch.equal(out, torch.full((1, 16), 258.0).bfloat16())


@pytest.mark.parametrize("tiling", TILINGS, ids=lambda tiling: tiling.name)
def test_a_row_is_the_same_in_any_batch(tiling):
    shape = linear_residual.Shape(48, 160)
    a, x = activations(9, 160), activations(9, 48)
    matrix, scale = weights(48, 160)
    together = found(shape, tiling, a, matrix, scale, x)
    for token in (0, 4, 8):
        one = slice(token, token + 1)
        alone = found(shape, tiling, a[one].clone(), matrix, scale, x[one])
        assert torch.equal(alone[0], together[token])
