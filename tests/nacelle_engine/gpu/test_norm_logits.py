"""norm_logits against its formula over odd shapes; logits are never rounded to bfloat16."""

import pytest
import torch
from linear_cases import TILINGS, Guarded, activations, error, launch, norm_of, weights

from nacelle_engine.ops.gpu import norm_logits


def found(shape, tiling, x, norm, weight, scale, logits_rows):
    logits = Guarded(len(logits_rows), shape.rows, dtype=torch.float32)
    given = {
        "x": x,
        "norm": norm,
        "weight": weight,
        "scale": scale,
        "logits_rows": logits_rows,
        "logits": logits.tensor,
        "L": len(logits_rows),
    }
    launch(norm_logits.kernel(shape, tiling), tiling, given, L=len(logits_rows))
    return logits.checked()


@pytest.mark.parametrize("tiling", TILINGS, ids=lambda tiling: tiling.name)
@pytest.mark.parametrize("weight", ["bf16", "fp8e4nv"])
@pytest.mark.parametrize(
    ("rows", "cap"), [([0], 0.0), ([4], 3.0), ([4, 0, 2], 0.0), ([1, 3] * 5, 2.0)]
)
def test_the_formula(tiling, weight, rows, cap):
    shape = norm_logits.Shape(rows=77, width=96, eps=1e-5, weight=weight, soft_cap=cap)
    x, norm, wanted = activations(5, 96), norm_of(96), torch.tensor(rows)
    matrix, scale = weights(77, 96, weight)
    logits = found(shape, tiling, x, norm, matrix, scale, wanted)
    expected = norm_logits.reference(x, norm, matrix, scale, wanted, shape.eps, cap)
    # float32 throughout, but blocks of tokens round x * norm to bfloat16.
    assert error(logits, expected) < (2e-6 if tiling.tokens == 1 else 2**-9)


def test_a_step_without_logits_launches_nothing():
    shape = norm_logits.Shape(rows=16, width=32, eps=1e-5)
    matrix, scale = weights(16, 32, "bf16")
    nothing = torch.empty(0, dtype=torch.int64)
    logits = found(shape, TILINGS[2], activations(2, 32), norm_of(32), matrix, scale, nothing)
    assert logits.shape == (0, 16)
