"""The norm of the step's rows that are asked for, one below the other: what a library multiplies.

out[l, k] = x[logits_rows[l], k] * norm[k] / sqrt(mean_k(x[logits_rows[l], k]^2) + eps)

x [T, K], norm [K], out [L, K] bf16; logits_rows [L] int64, below T; rounded once.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu import row_kernel
from nacelle_engine.ops.gpu.kernel import Kernel
from nacelle_engine.ops.gpu.row_kernel import Choice, norm_weights


@dataclass(frozen=True)
class Shape:
    """Rows of `width` elements (K)."""

    width: int
    eps: float
    architecture: Architecture = Architecture.SM_90


def choices(shape: Shape) -> tuple[Choice, ...]:
    """Candidates, the safe one first."""
    return row_kernel.choices(shape.width, whole_rows=True)


def kernel(shape: Shape, choice: Choice) -> Kernel:
    """Grid (L)."""
    return row_kernel.row_kernel(
        f"norm_gather_e{shape.eps:g}",
        norm_gather,
        {"x": "*bf16", "norm": "*bf16", "logits_rows": "*i64", "normed_rows": "*bf16"},
        {"EPS": shape.eps},
        shape.width,
        choice,
        shape.architecture,
        symbol="L",
    )


@triton.jit
def norm_gather(
    x,
    norm,
    logits_rows,
    normed_rows,
    EPS: tl.constexpr,
    K: tl.constexpr,
    BLOCK: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    """One row."""
    columns, live, weight = norm_weights(norm, K, BLOCK, DEPENDENT)
    row = tl.program_id(0)
    token = tl.load(logits_rows + row)
    y = tl.load(x + token * K + columns, mask=live, other=0.0).to(tl.float32)
    y = y * tl.rsqrt(tl.sum(y * y, 0) / K + EPS) * weight
    tl.store(normed_rows + row.to(tl.int64) * K + columns, y.to(tl.bfloat16), mask=live)


def reference(
    x: torch.Tensor, norm: torch.Tensor, logits_rows: torch.Tensor, shape: Shape
) -> torch.Tensor:
    """The formula in float32."""
    wide = x[logits_rows].float()
    return wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + shape.eps) * norm.float()
