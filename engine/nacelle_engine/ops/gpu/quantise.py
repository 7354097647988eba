"""Activations to FP8 E4M3, each row by its own scale or all by a static one (fp8.py).

x bf16 [T, K]; out FP8 [T, K]; row_scale fp32 [T] (per token) or static_scale fp32 [1].
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from nacelle_engine.ops.gpu import fp8, row_kernel
from nacelle_engine.ops.gpu.fp8 import Output, emit
from nacelle_engine.ops.gpu.kernel import Kernel
from nacelle_engine.ops.gpu.row_kernel import Choice


@dataclass(frozen=True)
class Shape:
    """Rows of `width` elements (K), and what they become."""

    width: int
    output: Output


def choices(shape: Shape) -> tuple[Choice, ...]:
    """Candidates, the safe one first."""
    return row_kernel.choices(shape.width, whole_rows=shape.output.whole_rows)


def kernel(shape: Shape, choice: Choice) -> Kernel:
    """Grid (T, parts of a row)."""
    return row_kernel.row_kernel(
        f"quantise_{shape.output.name}",
        quantise,
        {"x": "*bf16", **shape.output.arguments},
        {},
        shape.width,
        choice,
        shape.output.architecture,
    )


@triton.jit
def quantise(
    x,
    static_scale,
    out,
    row_scale,
    K: tl.constexpr,
    BLOCK: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    """A row, or with a static scale a part of it."""
    if DEPENDENT:
        gdc_launch_dependents()
        gdc_wait()
    token = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    y = tl.load(x + token * K + columns, mask=columns < K, other=0.0).to(tl.float32)
    emit(y, out, columns, columns < K, token, static_scale, row_scale, K)


def reference(
    x: torch.Tensor, shape: Shape, static_scale: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(out, row_scale where there is one)."""
    return fp8.reference(x.float(), shape.output, static_scale)
