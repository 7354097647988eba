"""The norm of the rows that logits are made of, against the formula."""

import exact_interpreter  # noqa: F401
import pytest
import torch
from interpreted import run
from linear_cases import Guarded

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu import norm_gather
from nacelle_engine.ops.gpu.norm_gather import Shape


def found(shape, x, norm, rows, choice=0):
    out = Guarded(len(rows), shape.width)
    kernel = norm_gather.kernel(shape, norm_gather.choices(shape)[choice])
    given = {"x": x, "norm": norm, "logits_rows": torch.tensor(rows), "normed_rows": out.tensor}
    run(kernel, given, L=len(rows))
    return out.checked()


@pytest.mark.parametrize("eps", [1e-6, 0.5])
@pytest.mark.parametrize(
    ("tokens", "width", "rows"),
    [(1, 96, [0]), (3, 2304, [2, 0]), (17, 576, [16, 3, 3, 9, 0]), (5, 48, [4, 3, 2, 1, 0])],
)
def test_it_is_the_formula(tokens, width, rows, eps):
    torch.manual_seed(tokens)
    x, norm = torch.randn(tokens, width).bfloat16(), (2 * torch.rand(width)).bfloat16()
    shape = Shape(width, eps, Architecture.SM_89)
    wanted = norm_gather.reference(x, norm, torch.tensor(rows), shape)
    out = found(shape, x, norm, rows).float()
    # Rounded once: half a step of bfloat16, and a neighbour where fp32's own rounding decides.
    torch.testing.assert_close(out, wanted, rtol=2**-8, atol=1e-5)
    assert float((out != wanted.bfloat16().float()).float().mean()) < 1e-3


def test_every_choice_gives_the_same():
    shape = Shape(3000, 1e-5, Architecture.SM_89)
    x, norm = torch.randn(4, 3000).bfloat16(), torch.rand(3000).bfloat16()
    first, *others = (
        found(shape, x, norm, [3, 1], number) for number in range(len(norm_gather.choices(shape)))
    )
    assert others
    for other in others:
        torch.testing.assert_close(other.float(), first.float(), rtol=2**-7, atol=0.0)


def test_a_step_without_logits_writes_nothing():
    shape = Shape(96, 1e-6, Architecture.SM_89)
    x, norm = torch.randn(2, 96).bfloat16(), torch.ones(96).bfloat16()
    assert found(shape, x, norm, []).shape == (0, 96)
