"""Gated activation and FP8 against the formula."""

import pytest
import torch
from rows import OUTPUTS, check, launch, static_scale

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu import act_quantise
from nacelle_engine.ops.gpu.act_quantise import Shape
from nacelle_engine.ops.gpu.fp8 import Output
from nacelle_engine.precision import QuantizationAlgorithm

PER_TOKEN = QuantizationAlgorithm.FP8_PER_CHANNEL_PER_TOKEN


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


@pytest.mark.parametrize("raw", [False, True], ids=["scaled", "raw"])
@pytest.mark.parametrize("activation", ["silu", "gelu_tanh"])
@pytest.mark.parametrize("width", [2500, 4096, 9000, 14336])
def test_every_choice_is_the_formula(width, activation, raw):
    torch.manual_seed(width)
    tokens = 3
    gate_up = (torch.randn(tokens, 2 * width) * 2).bfloat16()
    # A row of zeros has a scale of 1.
    gate_up[1] = 0.0
    scales = (torch.rand(tokens) + 0.5, torch.rand(2 * width)) if raw else None
    shape = Shape(width, Output(PER_TOKEN, Architecture.SM_89), activation, raw)
    wanted = act_quantise.reference(gate_up, shape, raw_scales=scales)
    given = {"gate_up": gate_up, "gate_up_scale": scales[1] if raw else None}
    for choice in act_quantise.choices(shape):
        kernel = act_quantise.kernel(shape, choice)
        row_scale = scales[0] if raw else None
        check(launch(kernel, given, tokens, width, row_scale=row_scale), wanted, ties=2e-3)


def test_wide_rows_are_taken_in_parts_narrow_ones_whole():
    def cut(width, algorithm=PER_TOKEN):
        return act_quantise.choices(Shape(width, Output(algorithm, Architecture.SM_89)))

    parts = [(one.columns, one.parts, one.warps) for one in cut(14336) if one.parts > 1]
    assert parts == [(2048, 7, 16), (4096, 4, 16), (4096, 4, 32)]
    assert all(one.parts == 1 for one in cut(1536))
    assert all(one.parts == 1 for one in cut(14336, QuantizationAlgorithm.FP8))
    # More results than registers hold would be kept in memory.
    assert all(one.columns * one.parts <= 64 * 32 * one.warps for one in cut(40000))


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
