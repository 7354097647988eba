"""Sum, norm and FP8 against the formula."""

import pytest
import torch
from rows import OUTPUTS, check, launch, static_scale

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu import norm_quantise
from nacelle_engine.ops.gpu.fp8 import Output
from nacelle_engine.ops.gpu.norm_quantise import Shape
from nacelle_engine.precision import QuantizationAlgorithm


@pytest.mark.parametrize("algorithm", OUTPUTS)
@pytest.mark.parametrize("delta", [True, False])
@pytest.mark.parametrize(("tokens", "width"), [(1, 96), (5, 4096), (17, 576)])
def test_it_is_the_formula(algorithm, delta, tokens, width):
    torch.manual_seed(tokens)
    x, added = (torch.randn(tokens, width) * 3).bfloat16(), torch.randn(tokens, width).bfloat16()
    norm = torch.rand(width).bfloat16()
    shape = Shape(width, 1e-5, Output(algorithm, Architecture.SM_89), delta)
    scale = static_scale(algorithm, 0.01)
    theirs = x.clone()
    wanted = norm_quantise.reference(theirs, added if delta else None, norm, shape, scale)
    kernel = norm_quantise.kernel(shape, norm_quantise.choices(shape)[0])
    inputs = {"x": x, "delta": added, "norm": norm, "static_scale": scale}
    # The sums of squares differ in the last bits of fp32, so ties of the rounding may fall apart.
    check(launch(kernel, inputs, tokens, width), wanted, ties=1e-3)
    assert torch.equal(x, theirs)


def test_an_unscaled_product_is_scaled_before_it_is_added():
    torch.manual_seed(7)
    tokens, width = 5, 576
    x, added = (torch.randn(tokens, width) * 3).bfloat16(), torch.randn(tokens, width) * 300
    scales, norm = (torch.rand(tokens) * 0.02, torch.rand(width)), torch.rand(width).bfloat16()
    output = Output(QuantizationAlgorithm.FP8_PER_CHANNEL_PER_TOKEN, Architecture.SM_89)
    shape = Shape(width, 1e-5, output, raw=True)
    theirs, delta = x.clone(), added.bfloat16()
    wanted = norm_quantise.reference(theirs, delta, norm, shape, raw_scales=scales)
    kernel = norm_quantise.kernel(shape, norm_quantise.choices(shape)[0])
    given = {"x": x, "delta": delta, "delta_scale": scales[1], "norm": norm}
    check(launch(kernel, given, tokens, width, row_scale=scales[0]), wanted, ties=1e-3)
    assert torch.equal(x, theirs)
