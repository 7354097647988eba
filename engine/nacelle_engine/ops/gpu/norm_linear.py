"""The norm and a projection (Q, K and V together) in one launch.

out[t, n] = scale[n] * sum_k normed[t, k] * weight[n, k] + bias[n]
normed[t, k] = x[t, k] * norm[k] / sqrt(mean_k(x[t, k]^2) + eps)

x [T, K], norm [K] bf16; weight [N, K] FP8 with scale [N] fp32, or bf16 without; bias [N] bf16 where
the layer has one; out [T, N] bf16.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu.candidates import tilings
from nacelle_engine.ops.gpu.kernel import Kernel
from nacelle_engine.ops.gpu.predecessor import wait_for_predecessor
from nacelle_engine.ops.gpu.row_products import row_products
from nacelle_engine.ops.gpu.split_sum import add_parts, part_bounds
from nacelle_engine.ops.gpu.tiling import Tiling, WeightType
from nacelle_engine.ops.gpu.weight_tile import first_tile, prefetch_rows


@dataclass(frozen=True)
class Shape:
    """`rows` outputs (N) of `width` inputs (K), and what the layer has."""

    rows: int
    width: int
    eps: float
    weight: WeightType = "fp8e4nv"
    bias: bool = False


@triton.jit
def norm_linear(
    x,
    norm,
    weight,
    scale,
    bias,
    out,
    T,
    workspace,
    arrived,
    N: tl.constexpr,
    K: tl.constexpr,
    EPS: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_T: tl.constexpr,
    STAGES: tl.constexpr,
    SPLIT: tl.constexpr,
    PREFETCH: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    """One program: BLOCK_N outputs of BLOCK_T tokens."""
    start = tl.program_id(0) * BLOCK_N
    rows = start + tl.arange(0, BLOCK_N)
    held = tl.minimum(rows, N - 1)
    begin, end = part_bounds(K, BLOCK_K, SPLIT)
    if PREFETCH:
        prefetch_rows(weight, start, tl.minimum(BLOCK_N, N - start), begin, end, K)
    first = first_tile(weight, held, begin, K, BLOCK_K, BLOCK_T)
    if scale is not None:
        scales = tl.load(scale + held)
    if bias is not None:
        biases = tl.load(bias + held).to(tl.float32)
    wait_for_predecessor(DEPENDENT)
    tokens = tl.program_id(1) * BLOCK_T + tl.arange(0, BLOCK_T)
    products, squares = row_products(
        first, x, norm, weight, held, tl.minimum(tokens, T - 1), begin, end, K, BLOCK_K, STAGES
    )
    products, squares, last = add_parts(products, squares, workspace, arrived, SPLIT)
    result = products * tl.rsqrt(squares / K + EPS)[None, :]
    if scale is not None:
        result *= scales[:, None]
    if bias is not None:
        result += biases[:, None]
    pointers = out + tokens.to(tl.int64)[None, :] * N + rows[:, None]
    present = (tokens < T)[None, :] & (rows < N)[:, None] & last
    tl.store(pointers, result.to(tl.bfloat16), mask=present)


def choices(shape: Shape, tokens: int, architecture: Architecture) -> tuple[Tiling, ...]:
    """The tilings worth timing for steps of `tokens`; the first is safe untimed."""
    return tilings(shape.rows, shape.width, shape.weight, tokens, architecture)


def kernel(shape: Shape, choice: Tiling) -> Kernel:
    """The kernel for this shape."""
    bias = "_bias" if shape.bias else ""
    return choice.kernel(
        f"norm_linear_{shape.weight}{bias}_n{shape.rows}k{shape.width}e{shape.eps:g}",
        norm_linear,
        {
            "x": "*bf16",
            "norm": "*bf16",
            "weight": choice.weight_type(shape.weight),
            "scale": "*fp32" if shape.weight == "fp8e4nv" else None,
            "bias": "*bf16" if shape.bias else None,
            "out": "*bf16",
            "T": "i32",
        },
        {"N": shape.rows, "K": shape.width, "EPS": shape.eps},
    )


def reference(
    x: torch.Tensor,
    norm: torch.Tensor,
    weight: torch.Tensor,
    scale: torch.Tensor | None,
    bias: torch.Tensor | None,
    eps: float,
) -> torch.Tensor:
    """The formula in float32."""
    wide = x.float()
    normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * norm.float()
    out = normed @ weight.float().T
    if scale is not None:
        out = out * scale
    return out if bias is None else out + bias.float()
