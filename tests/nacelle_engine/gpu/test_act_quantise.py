"""Gated activation and FP8 against the formula."""

import pytest
import torch
from rows import OUTPUTS, check, launch, static_scale

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu import act_quantise
from nacelle_engine.ops.gpu.act_quantise import Shape
from nacelle_engine.ops.gpu.fp8 import Output


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
