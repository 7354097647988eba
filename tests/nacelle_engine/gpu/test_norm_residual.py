"""The norm of a block's output on its way into the stream, against the formula."""

import pytest
import torch
from interpreted import run
from linear_cases import Guarded

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu import norm_residual
from nacelle_engine.ops.gpu.norm_residual import Shape


def found(shape, x, delta, norm):
    held = Guarded(*x.shape)
    held.tensor.copy_(x)
    kernel = norm_residual.kernel(shape, norm_residual.choices(shape)[0])
    run(kernel, {"x": held.tensor, "delta": delta, "norm": norm}, T=len(x))
    return held.checked()


@pytest.mark.parametrize("eps", [1e-6, 0.5])
@pytest.mark.parametrize(("tokens", "width"), [(1, 96), (3, 2304), (17, 576)])
def test_it_is_the_formula(tokens, width, eps):
    torch.manual_seed(tokens)
    x, delta = torch.randn(tokens, width).bfloat16(), 3 * torch.randn(tokens, width).bfloat16()
    norm = (2 * torch.rand(width)).bfloat16()
    shape = Shape(width, eps, Architecture.SM_89)
    wanted = norm_residual.reference(x, delta, norm, shape)
    out = found(shape, x, delta, norm).float()
    # Rounded once: half a step of bfloat16, and a neighbour where fp32's own rounding decides.
    torch.testing.assert_close(out, wanted, rtol=2**-8, atol=1e-5)
    assert float((out != wanted.bfloat16().float()).float().mean()) < 1e-3


def test_a_row_of_zeros_adds_nothing():
    shape, x = Shape(48, 1e-6, Architecture.SM_89), torch.randn(2, 48).bfloat16()
    out = found(shape, x, torch.zeros(2, 48).bfloat16(), torch.ones(48).bfloat16())
    assert torch.equal(out, x)


def test_a_row_is_the_same_in_any_batch():
    shape = Shape(96, 1e-6, Architecture.SM_89)
    x, delta = torch.randn(9, 96).bfloat16(), torch.randn(9, 96).bfloat16()
    norm = torch.rand(96).bfloat16()
    together = found(shape, x, delta, norm)
    alone = found(shape, x[4:5].clone(), delta[4:5].clone(), norm)
    assert torch.equal(alone[0], together[4])
