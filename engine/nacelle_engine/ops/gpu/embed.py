"""Rows of the embedding table: x[t] = table[token_ids[t]] * multiplier.

token_ids int64 [T]; table bf16 [V, H]; x bf16 [T, H], rounded once.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu import row_kernel
from nacelle_engine.ops.gpu.kernel import Kernel
from nacelle_engine.ops.gpu.predecessor import wait_for_predecessor
from nacelle_engine.ops.gpu.row_kernel import Choice


@dataclass(frozen=True)
class Shape:
    """Rows of `hidden` elements (H); Gemma multiplies them."""

    hidden: int
    multiplier: float = 1.0
    architecture: Architecture = Architecture.SM_90


def choices(shape: Shape) -> tuple[Choice, ...]:
    """Candidates, the safe one first."""
    return row_kernel.choices(shape.hidden, whole_rows=False)


def kernel(shape: Shape, choice: Choice) -> Kernel:
    """Grid (T, parts of a row)."""
    return row_kernel.row_kernel(
        f"embed_x{shape.multiplier:g}",
        embed,
        {"token_ids": "*i64", "table": "*bf16", "x": "*bf16"},
        {"MULTIPLIER": shape.multiplier},
        shape.hidden,
        choice,
        shape.architecture,
    )


@triton.jit
def embed(
    token_ids,
    table,
    x,
    MULTIPLIER: tl.constexpr,
    K: tl.constexpr,
    BLOCK: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    """A part of one token's row."""
    # The token may be what the step before has sampled.
    wait_for_predecessor(DEPENDENT)
    token = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    row = tl.load(token_ids + token)
    values = tl.load(table + row * K + columns, mask=columns < K)
    if MULTIPLIER != 1.0:
        values = (values.to(tl.float32) * MULTIPLIER).to(tl.bfloat16)
    tl.store(x + token * K + columns, values, mask=columns < K)


def reference(token_ids: torch.Tensor, table: torch.Tensor, shape: Shape) -> torch.Tensor:
    """x in bf16."""
    return (table[token_ids].float() * shape.multiplier).bfloat16()
