"""A norm's last factor and a projection of FP8 blocks: query, key and value in one launch.

out[t, n] = scale[n] / rms[t] * sum_b x_scales[b, t] * sum_(k in b) weight[n, k] * x_codes[t, k]
            + bias[n]
1 / rms[t] = 1 / sqrt(sum_b x_squares[b, t] / K + eps)

x_codes FP8 E4M3 [T, K] (x times the norm's weights); x_scales, x_squares fp32 [K / 128, 256];
weight FP8 [N, K]; scale fp32 [N]; bias bf16 [N] or absent; out bf16 [T, N].
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu.block_candidates import tilings
from nacelle_engine.ops.gpu.block_products import block_bounds, block_products
from nacelle_engine.ops.gpu.block_scales import dequantised, inverse_rms, load_squares
from nacelle_engine.ops.gpu.block_sum import collect, publish
from nacelle_engine.ops.gpu.block_tiling import BlockTiling
from nacelle_engine.ops.gpu.kernel import Kernel
from nacelle_engine.ops.gpu.predecessor import wait_for_predecessor


@dataclass(frozen=True)
class Shape:
    """`rows` outputs (N) of `width` inputs (K), a multiple of 128."""

    rows: int
    width: int
    eps: float
    bias: bool = False


@triton.jit
def block_linear(
    x_codes,
    x_scales,
    x_squares,
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
    BLOCK_T: tl.constexpr,
    STAGES: tl.constexpr,
    SPLIT: tl.constexpr,
    UNROLL: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    """One program: BLOCK_N outputs of BLOCK_T tokens, over one part of K."""
    rows = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    held = tl.minimum(rows, N - 1)
    begin, end = block_bounds(K, SPLIT)
    scales = tl.load(scale + held)
    wait_for_predecessor(DEPENDENT)
    tokens = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    present = tl.minimum(tokens, T - 1)
    # Loaded before the loop and summed after it, the loop hides the wait; it costs registers.
    if BLOCK_T < 64:
        squares = load_squares(x_squares, present, K)
    products = block_products(
        weight, held, x_codes, x_scales, present, begin, end, K, 1, STAGES, UNROLL
    )
    if SPLIT > 1:
        if not publish(products, None, workspace, arrived, SPLIT):
            return
        products = collect(workspace, arrived, BLOCK_N, BLOCK_T, SPLIT, 1, 0)
    if BLOCK_T >= 64:
        squares = load_squares(x_squares, present, K)
    result = products * scales[:, None] * tl.rsqrt(tl.sum(squares, 0) / K + EPS)[None, :]
    if bias is not None:
        result += tl.load(bias + held).to(tl.float32)[:, None]
    pointers = out + tokens.to(tl.int64)[None, :] * N + rows[:, None]
    tl.store(pointers, result.to(tl.bfloat16), mask=(tokens < T)[None, :] & (rows < N)[:, None])


def choices(shape: Shape, tokens: int, architecture: Architecture) -> tuple[BlockTiling, ...]:
    """The tilings worth timing for steps of `tokens`, the first safe untimed; () if it can't be."""
    return tilings((64, 128), shape.rows, shape.width, tokens, architecture)


def kernel(shape: Shape, choice: BlockTiling) -> Kernel:
    """The kernel for this shape."""
    return choice.kernel(
        f"block_linear_n{shape.rows}k{shape.width}e{shape.eps:g}{'_bias' if shape.bias else ''}",
        block_linear,
        {
            "x_codes": "*fp8e4nv",
            "x_scales": "*fp32",
            "x_squares": "*fp32",
            "weight": "*fp8e4nv",
            "scale": "*fp32",
            "bias": "*bf16" if shape.bias else None,
            "out": "*bf16",
            "T": "i32",
        },
        {"N": shape.rows, "K": shape.width, "EPS": shape.eps},
    )


def reference(
    x_codes: torch.Tensor,
    x_scales: torch.Tensor,
    x_squares: torch.Tensor,
    weight: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor | None,
    eps: float,
) -> torch.Tensor:
    """The formula in float32."""
    tokens, width = x_codes.shape
    products = dequantised(x_codes, x_scales) @ weight.float().T
    out = products * inverse_rms(x_squares, tokens, width, eps) * scale
    return out if bias is None else out + bias.float()
