"""norm_gate_up against its formula over odd shapes, with both activations."""

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

from nacelle_engine.ops.gpu import norm_gate_up


def found(shape, tiling, x, norm, weight, scale):
    out = Guarded(x.shape[0], shape.rows)
    given = {
        "x": x,
        "norm": norm,
        "weight": weight,
        "scale": scale,
        "out": out.tensor,
        "T": x.shape[0],
    }
    launch(norm_gate_up.kernel(shape, tiling), tiling, given, T=x.shape[0])
    return out.checked()


@pytest.mark.parametrize("tiling", TILINGS, ids=lambda tiling: tiling.name)
@pytest.mark.parametrize("weight", ["fp8e4nv", "bf16"])
@pytest.mark.parametrize("activation", ["silu", "gelu_tanh"])
def test_the_formula(tiling, weight, activation):
    shape = norm_gate_up.Shape(20, 96, 1e-5, weight, activation)
    for tokens in TOKENS:
        x, norm = activations(tokens, shape.width), norm_of(shape.width)
        matrix, scale = weights(2 * shape.rows, shape.width, weight)
        out = found(shape, tiling, x, norm, matrix, scale)
        expected = norm_gate_up.reference(x, norm, matrix, scale, shape.eps, activation)
        # Blocks of tokens also round x * norm, which gate and up both take.
        assert error(out, expected) < ROUNDING * (1 if tiling.tokens == 1 else 3)


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")
@pytest.mark.parametrize("tiling", TILINGS, ids=lambda tiling: tiling.name)
def test_large_gates_stay_finite(tiling):
    shape = norm_gate_up.Shape(8, 64, 1e-5)
    x, norm = activations(2, 64), 200 * norm_of(64)
    matrix, scale = weights(16, 64)
    out = found(shape, tiling, x, norm, matrix, scale)
    expected = norm_gate_up.reference(x, norm, matrix, scale, 1e-5, "silu")
    assert torch.isfinite(out.float()).all()
    assert error(out, expected) < ROUNDING * (1 if tiling.tokens == 1 else 3)


@pytest.mark.parametrize("tiling", TILINGS, ids=lambda tiling: tiling.name)
def test_a_row_is_the_same_in_any_batch(tiling):
    shape = norm_gate_up.Shape(24, 160, 1e-5)
    x, norm = activations(9, 160), norm_of(160)
    matrix, scale = weights(48, 160)
    together = found(shape, tiling, x, norm, matrix, scale)
    for token in (0, 4, 8):
        alone = found(shape, tiling, x[token : token + 1].clone(), norm, matrix, scale)
        assert torch.equal(alone[0], together[token])
