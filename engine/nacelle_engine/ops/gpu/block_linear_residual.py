"""A projection of FP8 blocks added to the residual stream, which becomes FP8 blocks once more.

x[t, n] += scale[n] * sum_b a_scales[b, t] * sum_(k in b) weight[n, k] * a_codes[t, k]
x_squares[b, t] = sum_(n in b) x[t, n]^2; x_codes, x_scales: block_scales.py's of x * norm

a_codes FP8 E4M3 [T, K]; a_scales fp32 [K / block, 256]; weight FP8 [N, K]; scale fp32 [N];
norm bf16 [N], of the norm that reads x next; x bf16 [T, N], rounded once; x_codes FP8 [T, N];
x_scales, x_squares fp32 [N / 128, 256], of the rounded x.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu.block_candidates import tilings
from nacelle_engine.ops.gpu.block_products import block_bounds, block_products
from nacelle_engine.ops.gpu.block_scales import COLUMNS, dequantised, emit_stream, stream
from nacelle_engine.ops.gpu.block_sum import collect, publish
from nacelle_engine.ops.gpu.block_tiling import BlockTiling
from nacelle_engine.ops.gpu.kernel import Kernel
from nacelle_engine.ops.gpu.predecessor import wait_for_predecessor


@dataclass(frozen=True)
class Shape:
    """`rows` outputs (N) of `width` inputs (K), `block` of which share a scale; all times 128."""

    rows: int
    width: int
    block: int = COLUMNS


@triton.jit
def block_linear_residual(
    a_codes,
    a_scales,
    weight,
    scale,
    norm,
    x,
    x_codes,
    x_scales,
    x_squares,
    T,
    workspace,
    arrived,
    N: tl.constexpr,
    K: tl.constexpr,
    SCALED: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_T: tl.constexpr,
    STAGES: tl.constexpr,
    SPLIT: tl.constexpr,
    UNROLL: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    """One program: a block of the stream's columns for BLOCK_T tokens, over one part of K."""
    rows = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    begin, end = block_bounds(K, SPLIT)
    scales = tl.load(scale + rows)
    norms = tl.load(norm + rows).to(tl.float32)
    wait_for_predecessor(DEPENDENT)
    tokens = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    products = block_products(
        weight,
        rows,
        a_codes,
        a_scales,
        tl.minimum(tokens, T - 1),
        begin,
        end,
        K,
        SCALED,
        STAGES,
        UNROLL,
    )
    pointers = x + tokens.to(tl.int64)[None, :] * N + rows[:, None]
    residual = tl.load(pointers, mask=(tokens < T)[None, :], other=0.0).to(tl.float32)
    if SPLIT > 1:
        if not publish(products, None, workspace, arrived, SPLIT):
            return
        products = collect(workspace, arrived, BLOCK_N, BLOCK_T, SPLIT, 1, 0)
    kept = (residual + products * scales[:, None]).to(tl.bfloat16)
    tl.store(pointers, kept, mask=(tokens < T)[None, :])
    block = tl.program_id(1)
    emit_stream(kept.to(tl.float32), norms, x_codes, x_scales, x_squares, block, tokens, T, N)


def choices(shape: Shape, tokens: int, architecture: Architecture) -> tuple[BlockTiling, ...]:
    """The tilings worth timing for steps of `tokens`, the first safe untimed; () if it can't be."""
    if shape.rows % COLUMNS or shape.block % COLUMNS:
        return ()
    return tilings((COLUMNS,), shape.rows, shape.width, tokens, architecture)


def kernel(shape: Shape, choice: BlockTiling) -> Kernel:
    """The kernel for this shape; the choice has 128 rows."""
    return choice.kernel(
        f"block_linear_residual_n{shape.rows}k{shape.width}b{shape.block}",
        block_linear_residual,
        {
            "a_codes": "*fp8e4nv",
            "a_scales": "*fp32",
            "weight": "*fp8e4nv",
            "scale": "*fp32",
            "norm": "*bf16",
            "x": "*bf16",
            "x_codes": "*fp8e4nv",
            "x_scales": "*fp32",
            "x_squares": "*fp32",
            "T": "i32",
        },
        {"N": shape.rows, "K": shape.width, "SCALED": shape.block // COLUMNS},
    )


def reference(
    a_codes: torch.Tensor,
    a_scales: torch.Tensor,
    weight: torch.Tensor,
    scale: torch.Tensor,
    norm: torch.Tensor,
    x: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """What x becomes, in float32, and codes, scales and squares of that rounded to bf16."""
    added = x.float() + dequantised(a_codes, a_scales) @ weight.float().T * scale
    return added, *stream(added.bfloat16(), norm)
