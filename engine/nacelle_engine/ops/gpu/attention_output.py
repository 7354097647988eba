"""Where attention's result goes: bf16, or FP8 codes with a static scale, or one per token and head.

out bf16 [R, heads D]; or a_codes FP8 E4M3 [R, heads D] with static_scale fp32 [1], which all values
are divided by, or with a_scales fp32 [kv_heads, 256] that are found, one for the columns of the
query heads that share a KV head (block_scales.py).
"""

from typing import Literal

import triton
import triton.language as tl

from nacelle_engine.ops.gpu.block_scales import STRIDE
from nacelle_engine.ops.gpu.fp8 import LARGEST, to_fp8

# What a kernel gives: bf16, codes with a static scale, or codes with scales of blocks.
Result = Literal["bf16", "static", "blocks"]
_LARGEST = tl.constexpr(LARGEST)


def arguments(result: Result) -> dict[str, str | None]:
    """out, a_codes, a_scales, static_scale: name -> Triton's type, None where absent."""
    return {
        "out": "*bf16" if result == "bf16" else None,
        "a_codes": None if result == "bf16" else "*fp8e4nv",
        "a_scales": "*fp32" if result == "blocks" else None,
        "static_scale": "*fp32" if result == "static" else None,
    }


@triton.jit
def keep_scale(peak, a_scales, request, kv_head):
    """Store the scale for values of up to `peak`; give its inverse, that codes need."""
    scale = peak / _LARGEST
    scale = tl.where(scale == 0.0, 1.0, scale)
    tl.store(a_scales + kv_head * STRIDE + request, scale)
    return 1.0 / scale


@triton.jit
def put(values, places, live, out, a_codes, inverse):
    """Store values (fp32) at places of out, or of a_codes multiplied by the inverse scale."""
    if a_codes is None:
        tl.store(out + places, values.to(tl.bfloat16), mask=live)
    else:
        tl.store(a_codes + places, to_fp8(values * inverse, a_codes), mask=live)


@triton.jit
def put_all(values, places, live, out, a_codes, a_scales, static_scale, request, kv_head):
    """Store all that a KV head's query heads give: values [rows, D] where `live` [rows, 1]."""
    inverse = 1.0
    if static_scale is not None:
        inverse = 1.0 / tl.load(static_scale)
    elif a_codes is not None:
        peak = tl.max(tl.where(live, tl.abs(values), 0.0))
        inverse = keep_scale(peak, a_scales, request, kv_head)
    put(values, places, live, out, a_codes, inverse)
