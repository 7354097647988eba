"""Inputs of the linear kernels on the CPU, and the tilings that their tests go through."""

import torch
from interpreted import run

from nacelle_engine.ops.gpu.tiling import Tiling

TOKENS = (1, 3, 9)
# K in whole tiles and not, rows in whole programs and not, bytes and FP8, one token and blocks,
# sums that programs share.
TILINGS = (
    Tiling(rows=16, width=32, tokens=1, warps=4, stages=2),
    Tiling(rows=32, width=64, tokens=1, warps=4, stages=2, bits=True),
    Tiling(rows=32, width=64, tokens=8, warps=4, stages=2),
    Tiling(rows=16, width=32, tokens=16, warps=4, stages=2, bits=True),
    Tiling(rows=16, width=32, tokens=1, warps=4, stages=2, split=2),
    Tiling(rows=32, width=32, tokens=8, warps=4, stages=2, split=2),
)
# One rounding to bfloat16: 2^-8 at most, 1.6e-3 in the root mean square.
ROUNDING = 2.5e-3


def error(found, expected):
    return float((found.float() - expected).norm() / expected.norm())


def activations(tokens, width):
    torch.manual_seed(tokens * 1000 + width)
    return (3 * torch.randn(tokens, width)).bfloat16()


def norm_of(width):
    return (1 + 0.1 * torch.randn(width)).bfloat16()


def weights(rows, width, kind="fp8e4nv"):
    """[rows, width], and its scales where it is FP8."""
    weight = torch.randn(rows, width)
    if kind == "bf16":
        return (weight / width**0.5).bfloat16(), None
    return (weight * 60).to(torch.float8_e4m3fn), (0.5 + torch.rand(rows)) / (60 * width**0.5)


def launch(kernel, tiling, given, **sizes):
    """Run over what is given: None is what the shape has not. No count may be left behind."""
    weight = given["weight"]
    if tiling.bits and weight.itemsize == 1:
        given["weight"] = weight.view(torch.uint8)
    if tiling.split > 1:
        elements, tiles = tiling.slots(len(weight), max(sizes.values()))
        given["workspace"] = torch.full((elements,), torch.nan)
        given["arrived"] = torch.zeros(tiles, dtype=torch.int32)
    run(kernel, {name: value for name, value in given.items() if value is not None}, **sizes)
    assert not given.get("arrived", torch.zeros(1)).any()


class Guarded:
    """An output tensor with a margin behind it that nobody may write to."""

    def __init__(self, *shape, dtype=torch.bfloat16):
        size = torch.Size(shape).numel()
        self._all = torch.full((size + 512,), -7.0, dtype=dtype)
        self.tensor = self._all[:size].view(shape)

    def checked(self):
        assert (self._all[self.tensor.numel() :] == -7).all()
        return self.tensor
