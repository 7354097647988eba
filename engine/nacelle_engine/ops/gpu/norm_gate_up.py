"""The norm, the gate and up projections, and the gated activation in one launch.

out[t, i] = act(gate[t, i]) * up[t, i]
gate[t, i] = scale[i] * sum_k normed[t, k] * weight[i, k], up likewise by rows and scales I + i
normed[t, k] = x[t, k] * norm[k] / sqrt(mean_k(x[t, k]^2) + eps)
act: silu(g) = g / (1 + exp(-g)), or gelu_tanh(g) = g / 2 * (1 + tanh(z)),
z = sqrt(2 / pi) (g + 0.044715 g^3)

x [T, K], norm [K] bf16; weight [2 I, K] FP8 with scale [2 I] fp32, or bf16 without;
out [T, I] bf16.
"""

from dataclasses import dataclass
from typing import Literal

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

Activation = Literal["silu", "gelu_tanh"]
TWICE_SQRT_2_OVER_PI = tl.constexpr(1.5957691216057308)


@dataclass(frozen=True)
class Shape:
    """`rows` outputs (I) of `width` inputs (K), and the activation of the gate."""

    rows: int
    width: int
    eps: float
    weight: WeightType = "fp8e4nv"
    activation: Activation = "silu"


@triton.jit
def norm_gate_up(
    x,
    norm,
    weight,
    scale,
    out,
    T,
    workspace,
    arrived,
    N: tl.constexpr,
    K: tl.constexpr,
    EPS: tl.constexpr,
    GELU: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_T: tl.constexpr,
    STAGES: tl.constexpr,
    SPLIT: tl.constexpr,
    PREFETCH: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    """One program: BLOCK_N / 2 outputs of BLOCK_T tokens; N = 2 I. Gate and up rows alternate."""
    HALF: tl.constexpr = BLOCK_N // 2
    start = tl.program_id(0) * HALF
    index = tl.arange(0, BLOCK_N)
    held = tl.minimum(start + index // 2, N // 2 - 1) + index % 2 * (N // 2)
    begin, end = part_bounds(K, BLOCK_K, SPLIT)
    if PREFETCH:
        count = tl.minimum(HALF, N // 2 - start)
        prefetch_rows(weight, start, count, begin, end, K)
        prefetch_rows(weight, start + N // 2, count, begin, end, K)
    first = first_tile(weight, held, begin, K, BLOCK_K, BLOCK_T)
    if scale is not None:
        scales = tl.load(scale + held)
    wait_for_predecessor(DEPENDENT)
    tokens = tl.program_id(1) * BLOCK_T + tl.arange(0, BLOCK_T)
    products, squares = row_products(
        first, x, norm, weight, held, tl.minimum(tokens, T - 1), begin, end, K, BLOCK_K, STAGES
    )
    products, squares, last = add_parts(products, squares, workspace, arrived, SPLIT)
    products *= tl.rsqrt(squares / K + EPS)[None, :]
    if scale is not None:
        products *= scales[:, None]
    gate, up = tl.split(tl.permute(tl.reshape(products, [HALF, 2, BLOCK_T]), 0, 2, 1))
    if GELU:
        # (1 + tanh(z)) / 2 is the logistic function of 2 z.
        inner = gate + 0.044715 * gate * gate * gate
        result = gate * tl.sigmoid(TWICE_SQRT_2_OVER_PI * inner) * up
    else:
        result = gate * tl.sigmoid(gate) * up
    rows = start + tl.arange(0, HALF)
    pointers = out + tokens.to(tl.int64)[None, :] * (N // 2) + rows[:, None]
    present = (tokens < T)[None, :] & (rows < N // 2)[:, None] & last
    tl.store(pointers, result.to(tl.bfloat16), mask=present)


def choices(shape: Shape, tokens: int, architecture: Architecture) -> tuple[Tiling, ...]:
    """The tilings worth timing for steps of `tokens`; the first is safe untimed."""
    return tilings(2 * shape.rows, shape.width, shape.weight, tokens, architecture)


def kernel(shape: Shape, choice: Tiling) -> Kernel:
    """The kernel for this shape."""
    return choice.kernel(
        f"norm_gate_up_{shape.weight}_{shape.activation}_n{shape.rows}k{shape.width}e{shape.eps:g}",
        norm_gate_up,
        {
            "x": "*bf16",
            "norm": "*bf16",
            "weight": choice.weight_type(shape.weight),
            "scale": "*fp32" if shape.weight == "fp8e4nv" else None,
            "out": "*bf16",
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
    x: torch.Tensor,
    norm: torch.Tensor,
    weight: torch.Tensor,
    scale: torch.Tensor | None,
    eps: float,
    activation: Activation,
) -> torch.Tensor:
    """The formula in float32."""
    wide = x.float()
    normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * norm.float()
    products = normed @ weight.float().T
    gate, up = (products if scale is None else products * scale).chunk(2, dim=-1)
    if activation == "silu":
        return torch.nn.functional.silu(gate) * up
    return torch.nn.functional.gelu(gate, approximate="tanh") * up
