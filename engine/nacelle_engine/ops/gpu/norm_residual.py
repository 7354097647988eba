"""The norm of a block's output, added to the residual stream in place.

x[t, k] = x[t, k] + delta[t, k] * norm[k] / sqrt(mean_k(delta[t, k]^2) + eps)

x, delta bf16 [T, K]; norm bf16 [K]; the sum in fp32, rounded once.
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
    """Grid (T)."""
    return row_kernel.row_kernel(
        f"norm_residual_e{shape.eps:g}",
        norm_residual,
        {"x": "*bf16", "delta": "*bf16", "norm": "*bf16"},
        {"EPS": shape.eps},
        shape.width,
        choice,
        shape.architecture,
    )


@triton.jit
def norm_residual(
    x,
    delta,
    norm,
    EPS: tl.constexpr,
    K: tl.constexpr,
    BLOCK: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    """One row."""
    columns, live, weight = norm_weights(norm, K, BLOCK, DEPENDENT)
    place = tl.program_id(0).to(tl.int64) * K + columns
    added = tl.load(delta + place, mask=live, other=0.0).to(tl.float32)
    added = added * tl.rsqrt(tl.sum(added * added, 0) / K + EPS) * weight
    total = tl.load(x + place, mask=live, other=0.0).to(tl.float32) + added
    tl.store(x + place, total.to(tl.bfloat16), mask=live)


def reference(
    x: torch.Tensor, delta: torch.Tensor, norm: torch.Tensor, shape: Shape
) -> torch.Tensor:
    """The formula in float32; gives what x becomes."""
    wide = delta.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + shape.eps)
    return x.float() + wide * scale * norm.float()
