"""Rows to FP8 against the formula."""

import pytest
import torch
from rows import check, launch, static_scale

from nacelle_engine.arch import Architecture
from nacelle_engine.errors import CompileFailed
from nacelle_engine.ops.gpu import quantise
from nacelle_engine.ops.gpu.fp8 import Output
from nacelle_engine.ops.gpu.quantise import Shape
from nacelle_engine.precision import QuantizationAlgorithm

FP8 = (QuantizationAlgorithm.FP8, QuantizationAlgorithm.FP8_PER_CHANNEL_PER_TOKEN)


def case(algorithm, tokens, width):
    torch.manual_seed(tokens)
    x = (torch.randn(tokens, width) * 10 ** torch.randn(tokens, 1)).bfloat16()
    return x, Shape(width, Output(algorithm, Architecture.SM_89)), static_scale(algorithm, 0.02)


@pytest.mark.parametrize("algorithm", FP8)
@pytest.mark.parametrize(("tokens", "width"), [(1, 64), (2, 96), (5, 4000), (17, 14336)])
def test_it_is_the_formula(algorithm, tokens, width):
    x, shape, scale = case(algorithm, tokens, width)
    kernel = quantise.kernel(shape, quantise.choices(shape)[0])
    found = launch(kernel, {"x": x, "static_scale": scale}, tokens, width)
    check(found, quantise.reference(x, shape, scale))


@pytest.mark.parametrize("algorithm", FP8)
def test_every_choice_gives_the_same(algorithm):
    x, shape, scale = case(algorithm, 3, 3000)
    wanted = quantise.reference(x, shape, scale)
    assert len(quantise.choices(shape)) >= 3
    for choice in quantise.choices(shape):
        inputs = {"x": x, "static_scale": scale}
        check(launch(quantise.kernel(shape, choice), inputs, 3, 3000), wanted)


def test_a_row_of_zeros_has_scale_one():
    _, shape, _ = case(FP8[1], 1, 64)
    kernel = quantise.kernel(shape, quantise.choices(shape)[0])
    out, scale = launch(kernel, {"x": torch.zeros(1, 64).bfloat16()}, 1, 64)
    assert scale.tolist() == [1.0]
    assert not out.float().any()


def test_a_static_scale_clamps_and_keeps_nan():
    _, shape, _ = case(FP8[0], 1, 64)
    x = torch.zeros(1, 64).bfloat16()
    x[0, :3] = torch.tensor([1e5, -1e5, torch.nan])
    kernel = quantise.kernel(shape, quantise.choices(shape)[0])
    out, _ = launch(kernel, {"x": x, "static_scale": torch.tensor([0.5])}, 1, 64)
    assert out[0, :2].float().tolist() == [448.0, -448.0]
    assert bool(out[0, 2].float().isnan())


def test_fp8_needs_sm_89():
    with pytest.raises(CompileFailed) as caught:
        Output(FP8[0], Architecture.SM_80)
    assert str(caught.value) == (
        "quantization.algorithm: FP8 E4M3 needs sm_89 or later, the target is sm_80;"
        " set quantization.algorithm to NONE"
    )
