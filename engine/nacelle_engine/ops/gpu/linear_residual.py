"""A projection (after attention, or down), added to the residual stream in the same launch.

x[t, n] = x[t, n] + scale[n] * sum_k a[t, k] * weight[n, k] + bias[n], in place; or, where the
stream takes the sum's norm instead, out[t, n] = scale[n] * sum_k a[t, k] * weight[n, k] + bias[n].

a [T, K] bf16; weight [N, K] FP8 with scale [N] fp32, or bf16 without; bias [N] bf16 where the
layer has one; x or out [T, N] bf16, x added to in fp32, either rounded once. Every element belongs
to one program.
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
    """`rows` outputs (N) of `width` inputs (K), what the layer has, and where they go."""

    rows: int
    width: int
    weight: WeightType = "fp8e4nv"
    bias: bool = False
    residual: bool = True


@triton.jit
def linear_residual(
    a,
    weight,
    scale,
    bias,
    x,
    out,
    T,
    workspace,
    arrived,
    N: tl.constexpr,
    K: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_T: tl.constexpr,
    STAGES: tl.constexpr,
    SPLIT: tl.constexpr,
    PREFETCH: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    """One program: BLOCK_N elements of BLOCK_T tokens."""
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
    places = tokens.to(tl.int64)[None, :] * N + rows[:, None]
    present = (tokens < T)[None, :] & (rows < N)[:, None]
    if out is None:
        residual = tl.load(x + places, mask=present, other=0.0).to(tl.float32)
    products, squares = row_products(
        first, a, None, weight, held, tl.minimum(tokens, T - 1), begin, end, K, BLOCK_K, STAGES
    )
    products, squares, last = add_parts(products, squares, workspace, arrived, SPLIT)
    if scale is not None:
        products *= scales[:, None]
    if bias is not None:
        products += biases[:, None]
    if out is None:
        tl.store(x + places, (residual + products).to(tl.bfloat16), mask=present & last)
    else:
        tl.store(out + places, products.to(tl.bfloat16), mask=present & last)


def choices(shape: Shape, tokens: int, architecture: Architecture) -> tuple[Tiling, ...]:
    """The tilings worth timing for steps of `tokens`; the first is safe untimed."""
    return tilings(shape.rows, shape.width, shape.weight, tokens, architecture)


def kernel(shape: Shape, choice: Tiling) -> Kernel:
    """The kernel for this shape."""
    op = "linear_residual" if shape.residual else "linear"
    bias = "_bias" if shape.bias else ""
    return choice.kernel(
        f"{op}_{shape.weight}{bias}_n{shape.rows}k{shape.width}",
        linear_residual,
        {
            "a": "*bf16",
            "weight": choice.weight_type(shape.weight),
            "scale": "*fp32" if shape.weight == "fp8e4nv" else None,
            "bias": "*bf16" if shape.bias else None,
            "x": "*bf16" if shape.residual else None,
            "out": None if shape.residual else "*bf16",
            "T": "i32",
        },
        {"N": shape.rows, "K": shape.width},
    )


def reference(
    a: torch.Tensor,
    weight: torch.Tensor,
    scale: torch.Tensor | None,
    bias: torch.Tensor | None,
    x: torch.Tensor | None,
) -> torch.Tensor:
    """The formula in float32; gives what x becomes, or without x what out becomes."""
    products = a.float() @ weight.float().T
    products = products if scale is None else products * scale
    products = products if bias is None else products + bias.float()
    return products if x is None else x.float() + products
