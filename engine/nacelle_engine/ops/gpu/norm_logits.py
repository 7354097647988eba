"""The last norm and the projection to the words, of the step's rows that are asked for.

logits[l, v] = cap(scale[v] * sum_k normed[logits_rows[l], k] * weight[v, k])
normed[t, k] = x[t, k] * norm[k] / sqrt(mean_k(x[t, k]^2) + eps)
cap(y) = soft_cap * tanh(y / soft_cap), or y where there is no soft_cap

x [T, K], norm [K] bf16; weight [V, K] bf16, or FP8 with scale [V] fp32; logits_rows [L] int64,
below T; logits [L, V] fp32. Many tokens are faster with their norm in a launch before: x is normed
then, and norm absent.
"""

from dataclasses import dataclass, replace

import torch
import triton
import triton.language as tl

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu.candidates import tilings
from nacelle_engine.ops.gpu.kernel import Kernel
from nacelle_engine.ops.gpu.predecessor import wait_for_predecessor
from nacelle_engine.ops.gpu.row_products import row_products
from nacelle_engine.ops.gpu.softmax_state import capped
from nacelle_engine.ops.gpu.split_sum import add_parts, part_bounds
from nacelle_engine.ops.gpu.tiling import Tiling, WeightType
from nacelle_engine.ops.gpu.weight_tile import first_tile, prefetch_rows


@dataclass(frozen=True)
class Shape:
    """`rows` words (V) of `width` inputs (K), which are `normed` before or not.

    soft_cap  logits become cap * tanh(logit / cap); 0 = none
    """

    rows: int
    width: int
    eps: float
    weight: WeightType = "bf16"
    normed: bool = False
    soft_cap: float = 0.0


@triton.jit
def norm_logits(
    x,
    norm,
    weight,
    scale,
    logits_rows,
    logits,
    L,
    workspace,
    arrived,
    N: tl.constexpr,
    K: tl.constexpr,
    EPS: tl.constexpr,
    CAP: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_T: tl.constexpr,
    STAGES: tl.constexpr,
    SPLIT: tl.constexpr,
    PREFETCH: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    """One program: BLOCK_N words of BLOCK_T rows; all rows of some words run side by side, so that
    the weight comes from memory once.
    """
    start = tl.program_id(1) * BLOCK_N
    rows = start + tl.arange(0, BLOCK_N)
    held = tl.minimum(rows, N - 1)
    begin, end = part_bounds(K, BLOCK_K, SPLIT)
    if PREFETCH:
        prefetch_rows(weight, start, tl.minimum(BLOCK_N, N - start), begin, end, K)
    first = first_tile(weight, held, begin, K, BLOCK_K, BLOCK_T)
    if scale is not None:
        scales = tl.load(scale + held)
    wait_for_predecessor(DEPENDENT)
    places = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    tokens = tl.load(logits_rows + tl.minimum(places, L - 1))
    products, squares = row_products(
        first, x, norm, weight, held, tokens, begin, end, K, BLOCK_K, STAGES
    )
    products, squares, last = add_parts(products, squares, workspace, arrived, SPLIT)
    result = products
    if norm is not None:
        result *= tl.rsqrt(squares / K + EPS)[None, :]
    if scale is not None:
        result *= scales[:, None]
    result, _ = capped(result, 1.0, CAP)
    pointers = logits + places.to(tl.int64)[None, :] * N + rows[:, None]
    present = (places < L)[None, :] & (rows < N)[:, None] & last
    tl.store(pointers, result, mask=present)


def choices(shape: Shape, tokens: int, architecture: Architecture) -> tuple[Tiling, ...]:
    """The tilings worth timing for `tokens` rows of logits; the first is safe untimed."""
    return tilings(shape.rows, shape.width, shape.weight, tokens, architecture)


def kernel(shape: Shape, choice: Tiling) -> Kernel:
    """The kernel for this shape; grid (blocks of rows, of words, parts of a sum)."""
    cap = f"_cap{shape.soft_cap:g}" if shape.soft_cap else ""
    made = choice.kernel(
        f"norm_logits_{shape.weight}_n{shape.rows}k{shape.width}{cap}"
        f"{'_normed' if shape.normed else f'e{shape.eps:g}'}",
        norm_logits,
        {
            "x": "*bf16",
            "norm": None if shape.normed else "*bf16",
            "weight": choice.weight_type(shape.weight),
            "scale": "*fp32" if shape.weight == "fp8e4nv" else None,
            "logits_rows": "*i64",
            "logits": "*fp32",
            "L": "i32",
        },
        {"N": shape.rows, "K": shape.width, "EPS": shape.eps, "CAP": shape.soft_cap},
        symbol="L",
    )
    words, rows, parts = made.grid
    return replace(made, grid=(rows, words, parts))


def reference(
    x: torch.Tensor,
    norm: torch.Tensor | None,
    weight: torch.Tensor,
    scale: torch.Tensor | None,
    logits_rows: torch.Tensor,
    eps: float,
    soft_cap: float = 0.0,
) -> torch.Tensor:
    """The formula in float32."""
    wide = x[logits_rows].float()
    if norm is not None:
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * norm.float()
    logits = wide @ weight.float().T
    logits = logits if scale is None else logits * scale
    return soft_cap * torch.tanh(logits / soft_cap) if soft_cap else logits
