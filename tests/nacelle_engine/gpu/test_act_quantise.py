"""Gated activation and FP8 against the formula."""

import pytest
import torch
from rows import OUTPUTS, check, launch, static_scale

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu import act_quantise
from nacelle_engine.ops.gpu.act_quantise import Shape
from nacelle_engine.ops.gpu.fp8 import Output
from nacelle_engine.precision import QuantizationAlgorithm


@pytest.mark.parametrize("algorithm", OUTPUTS)
@pytest.mark.parametrize("activation", ["silu", "gelu_tanh"])
@pytest.mark.parametrize(("tokens", "width"), [(1, 48), (5, 1536), (3, 14336)])
def test_it_is_the_formula(algorithm, activation, tokens, width):
    torch.manual_seed(tokens)
    gate_up = (torch.randn(tokens, 2 * width) * 2).bfloat16()
    shape = Shape(width, Output(algorithm, Architecture.SM_89), activation)
    scale = static_scale(algorithm, 0.02)
    kernel = act_quantise.kernel(shape, act_quantise.choices(shape)[0])
    found = launch(kernel, {"gate_up": gate_up, "static_scale": scale}, tokens, width)
    # e^x differs in the last bits of fp32, so ties of the rounding may fall apart.
    check(found, act_quantise.reference(gate_up, shape, scale), ties=2e-3)


def test_an_unscaled_product_is_scaled_first():
    torch.manual_seed(7)
    tokens, width = 5, 1536
    gate_up = (torch.randn(tokens, 2 * width) * 300).bfloat16()
    scales = torch.rand(tokens) * 0.02, torch.rand(2 * width)
    output = Output(QuantizationAlgorithm.FP8_PER_CHANNEL_PER_TOKEN, Architecture.SM_89)
    shape = Shape(width, output, raw=True)
    kernel = act_quantise.kernel(shape, act_quantise.choices(shape)[0])
    wanted = act_quantise.reference(gate_up, shape, raw_scales=scales)
    given = {"gate_up": gate_up, "gate_up_scale": scales[1]}
    check(launch(kernel, given, tokens, width, row_scale=scales[0]), wanted, ties=2e-3)
