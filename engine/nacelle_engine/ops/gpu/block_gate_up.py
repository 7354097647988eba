"""The norm's last factor, the gate and up projections and the gated activation, FP8 in and out.

inner[t, i] = act(gate[t, i]) * up[t, i], kept as block_scales.py's codes and scales
gate[t, i] = scale[i] / rms[t] * sum_b x_scales[b, t] * sum_(k in b) weight[i, k] * x_codes[t, k],
up likewise by rows and scales I + i; rms as in block_linear.py, act as in norm_gate_up.py

x_codes FP8 E4M3 [T, K] (x times the norm's weights); x_scales, x_squares fp32 [K / 128, 256];
weight FP8 [2 I, K]; scale fp32 [2 I]; inner_codes FP8 [T, I]; inner_scales fp32 [I / 128, 256].
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu.block_candidates import tilings
from nacelle_engine.ops.gpu.block_products import block_bounds, pair_products
from nacelle_engine.ops.gpu.block_scales import (
    BLOCK,
    COLUMNS,
    dequantised,
    emit_codes,
    inverse_rms,
    load_squares,
)
from nacelle_engine.ops.gpu.block_sum import collect, publish
from nacelle_engine.ops.gpu.block_tiling import BlockTiling
from nacelle_engine.ops.gpu.gated import Activation, gated, gated_reference
from nacelle_engine.ops.gpu.kernel import Kernel
from nacelle_engine.ops.gpu.predecessor import wait_for_predecessor


@dataclass(frozen=True)
class Shape:
    """`rows` outputs (I) of `width` inputs (K), multiples of 128, and the gate's activation."""

    rows: int
    width: int
    eps: float
    activation: Activation = "silu"


@triton.jit
def block_gate_up(
    x_codes,
    x_scales,
    x_squares,
    weight,
    scale,
    inner_codes,
    inner_scales,
    T,
    workspace,
    arrived,
    N: tl.constexpr,
    K: tl.constexpr,
    EPS: tl.constexpr,
    GELU: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_T: tl.constexpr,
    STAGES: tl.constexpr,
    SPLIT: tl.constexpr,
    UNROLL: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    """One program: a block of inner columns for BLOCK_T tokens, over one part of K.

    N = 2 I; BLOCK_N = 256, gate rows and up rows counted.
    """
    rows = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    up_rows = N // 2 + rows
    begin, end = block_bounds(K, SPLIT)
    gate_scales = tl.load(scale + rows)
    up_scales = tl.load(scale + up_rows)
    wait_for_predecessor(DEPENDENT)
    tokens = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    present = tl.minimum(tokens, T - 1)
    # Loaded before the loop and summed after it, the loop hides the wait; it costs registers.
    if BLOCK_T < 64:
        squares = load_squares(x_squares, present, K)
    gate, up = pair_products(
        weight, rows, up_rows, x_codes, x_scales, present, begin, end, K, STAGES, UNROLL
    )
    if SPLIT > 1:
        if not publish(gate, up, workspace, arrived, SPLIT):
            return
        gate = collect(workspace, arrived, BLOCK, BLOCK_T, SPLIT, 2, 0)
        up = collect(workspace, arrived, BLOCK, BLOCK_T, SPLIT, 2, 1)
    if BLOCK_T >= 64:
        squares = load_squares(x_squares, present, K)
    inverse = tl.rsqrt(tl.sum(squares, 0) / K + EPS)[None, :]
    inner = gated(gate * gate_scales[:, None] * inverse, up * up_scales[:, None] * inverse, GELU)
    emit_codes(inner, inner_codes, inner_scales, tl.program_id(1), tokens, T, N // 2)


def choices(shape: Shape, tokens: int, architecture: Architecture) -> tuple[BlockTiling, ...]:
    """The tilings worth timing for steps of `tokens`, the first safe untimed; () if it can't be."""
    if shape.rows % COLUMNS:
        return ()
    return tilings((2 * COLUMNS,), 2 * shape.rows, shape.width, tokens, architecture)


def kernel(shape: Shape, choice: BlockTiling) -> Kernel:
    """The kernel for this shape; the choice has 256 rows."""
    return choice.kernel(
        f"block_gate_up_{shape.activation}_n{shape.rows}k{shape.width}e{shape.eps:g}",
        block_gate_up,
        {
            "x_codes": "*fp8e4nv",
            "x_scales": "*fp32",
            "x_squares": "*fp32",
            "weight": "*fp8e4nv",
            "scale": "*fp32",
            "inner_codes": "*fp8e4nv",
            "inner_scales": "*fp32",
            "T": "i32",
        },
        {
            "N": 2 * shape.rows,
            "K": shape.width,
            "EPS": shape.eps,
            "GELU": shape.activation == "gelu_tanh",
        },
    )


def reference(
    x_codes: torch.Tensor,
    x_scales: torch.Tensor,
    x_squares: torch.Tensor,
    weight: torch.Tensor,
    scale: torch.Tensor,
    eps: float,
    activation: Activation,
) -> torch.Tensor:
    """inner in float32; `quantised` gives its codes and scales."""
    tokens, width = x_codes.shape
    products = dequantised(x_codes, x_scales) @ weight.float().T
    products *= inverse_rms(x_squares, tokens, width, eps) * scale
    return gated_reference(products, activation)
