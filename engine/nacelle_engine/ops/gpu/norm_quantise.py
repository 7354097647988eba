"""The residual's sum and its norm, to FP8 E4M3 or bf16.

x[t] += delta[t] where delta is given (fp32, rounded to bf16 once, in place), or where it is an FP8
product that nobody has scaled yet, delta[t, k] * row_scale[t] * delta_scale[k] instead;
y[t, k] = x[t, k] * norm[k] / sqrt(mean_k(x[t, k]^2) + eps), then fp8.py's formula.

x, delta bf16 [T, K]; delta_scale fp32 [K]; norm bf16 [K]; out FP8 or bf16 [T, K]; row_scale fp32
[T] (per token: read for delta, then written for out) or static_scale fp32 [1].
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from nacelle_engine.ops.gpu import fp8, row_kernel
from nacelle_engine.ops.gpu.fp8 import Output, emit
from nacelle_engine.ops.gpu.kernel import Kernel
from nacelle_engine.ops.gpu.row_kernel import Choice, norm_weights


@dataclass(frozen=True)
class Shape:
    """Rows of `width` elements (K), with a sum before the norm where `delta`; `raw`: its scales are
    still to be applied."""

    width: int
    eps: float
    output: Output
    delta: bool = True
    raw: bool = False


def choices(shape: Shape) -> tuple[Choice, ...]:
    """Candidates, the safe one first."""
    return row_kernel.choices(shape.width, whole_rows=True)


def kernel(shape: Shape, choice: Choice) -> Kernel:
    """Grid (T)."""
    added = ("raw_" if shape.raw else "delta_") if shape.delta else ""
    return row_kernel.row_kernel(
        f"norm_quantise_{added}{shape.output.name}_e{shape.eps:g}",
        norm_quantise,
        {
            "x": "*bf16",
            "delta": "*bf16" if shape.delta else None,
            "delta_scale": "*fp32" if shape.raw else None,
            "norm": "*bf16",
            **shape.output.arguments,
        },
        {"EPS": shape.eps},
        shape.width,
        choice,
        shape.output.architecture,
    )


@triton.jit
def norm_quantise(
    x,
    delta,
    delta_scale,
    norm,
    static_scale,
    out,
    row_scale,
    EPS: tl.constexpr,
    K: tl.constexpr,
    BLOCK: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    """One row."""
    columns, live, weight = norm_weights(norm, K, BLOCK, DEPENDENT)
    token = tl.program_id(0).to(tl.int64)
    place = x + token * K + columns
    total = tl.load(place, mask=live, other=0.0)
    if delta is not None:
        added = tl.load(delta + token * K + columns, mask=live, other=0.0).to(tl.float32)
        if delta_scale is not None:
            added *= tl.load(row_scale + token) * tl.load(
                delta_scale + columns, mask=live, other=0.0
            )
        total = (total.to(tl.float32) + added).to(tl.bfloat16)
        tl.store(place, total, mask=live)
    # The norm is of what x holds now, as whoever reads x later sees it.
    y = total.to(tl.float32)
    y = y * tl.rsqrt(tl.sum(y * y, 0) / K + EPS) * weight
    emit(y, out, columns, live, token, static_scale, row_scale, K)


def reference(
    x: torch.Tensor,
    delta: torch.Tensor | None,
    norm: torch.Tensor,
    shape: Shape,
    static_scale: torch.Tensor | None = None,
    raw_scales: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(out, row_scale where there is one); rewrites x as the kernel does.

    raw_scales: row_scale [T] and delta_scale [K] of a raw delta.
    """
    if delta is not None:
        rows, columns = raw_scales or (torch.ones(len(x)), torch.ones(x.shape[1]))
        x.copy_((x.float() + delta.float() * rows[:, None] * columns).bfloat16())
    y = x.float()
    y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + shape.eps) * norm.float()
    return fp8.reference(y, shape.output, static_scale)
