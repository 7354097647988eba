"""FP8 codes become their exact values, whichever way they are decoded."""

import pytest
import torch
import triton
import triton.language as tl
from interpreted import run

from nacelle_engine.ops.gpu.kernel import Kernel
from nacelle_engine.ops.gpu.weight_tile import decode
from nacelle_engine.program.launch import ONE


@triton.jit
def decoded(codes, values):
    places = tl.arange(0, 256)
    tl.store(values + places, decode(tl.load(codes + places)))


@pytest.mark.parametrize("kind", ["*u8", "*fp8e4nv"])
def test_every_finite_code_is_exact(kind):
    codes = torch.arange(256, dtype=torch.uint8)
    finite = (codes & 0x7F) != 0x7F
    values = torch.full((256,), torch.nan)
    held = codes if kind == "*u8" else codes.view(torch.float8_e4m3fn)
    kernel = Kernel("decoded", decoded, {"codes": kind, "values": "*fp32"}, {}, (ONE, ONE, ONE))
    run(kernel, {"codes": held, "values": values})
    expected = codes.view(torch.float8_e4m3fn).float()
    assert torch.equal(values[finite].view(torch.int32), expected[finite].view(torch.int32))
    assert finite.sum() == 254
