"""Compares rows that became FP8 or bf16 with their formula."""

import torch
from interpreted import run

from nacelle_engine.precision import QuantizationAlgorithm

OUTPUTS = tuple(QuantizationAlgorithm)


def launch(kernel, inputs, tokens, columns, *, row_scale=None):
    """(out, row_scale or None) of a kernel that gives rows; row_scale: what it holds before."""
    quantised = kernel.arguments["out"] != "*bf16"
    given = {
        **inputs,
        "out": torch.full((tokens, columns), torch.nan).to(
            torch.float8_e4m3fn if quantised else torch.bfloat16
        ),
        "row_scale": torch.full((tokens,), torch.nan) if row_scale is None else row_scale.clone(),
    }
    run(kernel, {name: given[name] for name in kernel.arguments}, T=tokens)
    return given["out"], given["row_scale"] if "row_scale" in kernel.arguments else None


def check(found, wanted, *, ties=0.0):
    """Scales within fp32's rounding; values equal but a share of `ties`, off by one step."""
    (out, scale), (expected, expected_scale) = found, wanted
    if expected_scale is None:
        assert scale is None
    else:
        torch.testing.assert_close(scale, expected_scale, rtol=1e-6, atol=0.0)
    assert out.dtype == expected.dtype
    out, step = out.float(), 0.126 if out.element_size() == 1 else 8e-3
    torch.testing.assert_close(out, expected.float(), rtol=step, atol=2**-9)
    assert float((out != expected.float()).float().mean()) <= ties


def static_scale(algorithm, value):
    """The scale that the algorithm takes, or None."""
    return torch.tensor([value]) if algorithm is QuantizationAlgorithm.FP8 else None
