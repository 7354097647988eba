"""FP8 E4M3: the largest value, and how a tile becomes FP8 or stays bf16.

Per token: s[t] = max over k of |y[t, k]| / 448, 1 where that is 0, and q = e4m3(y * (1 / s)).
Static: q = e4m3(clamp(y * (1 / static_scale))).
"""

import torch
import triton
import triton.language as tl

LARGEST = 448.0
_LARGEST = tl.constexpr(LARGEST)


@triton.jit
def to_fp8(x, pointer):
    """x (fp32) clamped to what E4M3 can hold, in the pointer's element type; NaN stays NaN."""
    bounded = tl.clamp(x, -_LARGEST, _LARGEST, propagate_nan=tl.PropagateNan.ALL)
    return bounded.to(pointer.dtype.element_ty)


@triton.jit
def emit(y, out, columns, live, token, static_scale, row_scale, K: tl.constexpr):
    """Store columns of row `token` of out [T, K]: FP8 where a scale is given, else bf16.

    y: fp32, 0 where not live. For row_scale fp32 [T], y must be the whole row.
    """
    if row_scale is not None:
        scale = tl.max(tl.abs(y), 0) / _LARGEST
        scale = tl.where(scale == 0.0, 1.0, scale)
        tl.store(row_scale + token, scale)
        kept = to_fp8(y * (1.0 / scale), out)
    elif static_scale is not None:
        kept = to_fp8(y * (1.0 / tl.load(static_scale)), out)
    else:
        kept = y.to(out.dtype.element_ty)
    tl.store(out + token.to(tl.int64) * K + columns, kept, mask=live)


def reference(
    y: torch.Tensor, static_scale: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(FP8, row scale [T]) of y [T, K] in float32; with a static scale no row scale."""
    if static_scale is not None:
        return (y * (1.0 / static_scale)).clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn), None
    scale = y.abs().amax(-1) / LARGEST
    scale = torch.where(scale == 0, 1.0, scale)
    quantised = (y * (1.0 / scale)[:, None]).clamp(-LARGEST, LARGEST)
    return quantised.to(torch.float8_e4m3fn), scale
