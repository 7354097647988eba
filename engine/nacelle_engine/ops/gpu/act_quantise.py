"""The gated activation of an MLP, to FP8 E4M3 or bf16.

y[t, i] = act(gate_up[t, i]) * gate_up[t, I + i], then fp8.py's formula;
act: silu(g) = g / (1 + exp(-g)),
or gelu_tanh(g) = g / 2 * (1 + tanh(sqrt(2 / pi) (g + 0.044715 g^3))).

gate_up bf16 [T, 2 I]; out FP8 or bf16 [T, I]; row_scale fp32 [T] (per token) or static_scale
fp32 [1]. Where gate_up_scale fp32 [2 I] is given, gate_up is an FP8 product that nobody has scaled
yet: it counts times row_scale[t] * gate_up_scale, and row_scale is written afterwards.
"""

from dataclasses import dataclass
from typing import Final

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from nacelle_engine.ops.gpu import fp8, row_kernel
from nacelle_engine.ops.gpu.fp8 import Output, emit, to_fp8, token_scale
from nacelle_engine.ops.gpu.gated import Activation, gated
from nacelle_engine.ops.gpu.kernel import Kernel
from nacelle_engine.ops.gpu.row_kernel import Choice

# Columns of a block and warps of a program, where a program takes a row in several blocks.
_PARTS: Final = ((2048, 16), (4096, 16), (4096, 32))


@dataclass(frozen=True)
class Shape:
    """Rows of `width` results (I), and what they become; `raw`: gate_up is not scaled yet."""

    width: int
    output: Output
    activation: Activation = "silu"
    raw: bool = False


def choices(shape: Shape) -> tuple[Choice, ...]:
    """Candidates, the safe one first."""
    whole = shape.output.whole_rows
    cut = _in_parts(shape.width) if whole else ()
    return (*cut, *row_kernel.choices(shape.width, whole_rows=whole))


def _in_parts(width: int) -> tuple[Choice, ...]:
    """Whole rows in blocks: two programs fit on a processor, where of rows in one block one does,
    and nothing is on its way while that one adds up (11.0 us instead of 17.7 for 512 rows of
    14,336, unscaled, on an H200).
    """
    made = [Choice(part, warps, -(-width // part)) for part, warps in _PARTS]
    # Results stay in registers: up to 64 a thread.
    fit = (one for one in made if one.parts * one.columns <= 64 * 32 * one.warps)
    return tuple(one for one in fit if one.parts > 1)


def kernel(shape: Shape, choice: Choice) -> Kernel:
    """Grid (T, parts of a row)."""
    return row_kernel.row_kernel(
        f"act_quantise_{'raw_' if shape.raw else ''}{shape.activation}_{shape.output.name}",
        act_quantise,
        {
            "gate_up": "*bf16",
            "gate_up_scale": "*fp32" if shape.raw else None,
            **shape.output.arguments,
        },
        {"GELU": shape.activation == "gelu_tanh", "PARTS": choice.parts},
        shape.width,
        choice,
        shape.output.architecture,
    )


@triton.jit
def _result(gate_up, gate_up_scale, factor, columns, live, GELU: tl.constexpr, K: tl.constexpr):
    """Columns of y of the row at `gate_up`, 0 where not live."""
    gate = tl.load(gate_up + columns, mask=live, other=0.0).to(tl.float32)
    up = tl.load(gate_up + K + columns, mask=live, other=0.0).to(tl.float32)
    if gate_up_scale is not None:
        gate *= factor * tl.load(gate_up_scale + columns, mask=live, other=0.0)
        up *= factor * tl.load(gate_up_scale + K + columns, mask=live, other=0.0)
    return gated(gate, up, GELU)


@triton.jit
def act_quantise(
    gate_up,
    gate_up_scale,
    static_scale,
    out,
    row_scale,
    GELU: tl.constexpr,
    K: tl.constexpr,
    BLOCK: tl.constexpr,
    PARTS: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    """A row of results in PARTS blocks, or without row_scale a part of it."""
    if DEPENDENT:
        gdc_launch_dependents()
        gdc_wait()
    token = tl.program_id(0).to(tl.int64)
    row = gate_up + token * (2 * K)
    factor = 1.0
    if gate_up_scale is not None:
        factor = tl.load(row_scale + token)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    if PARTS == 1:
        y = _result(row, gate_up_scale, factor, columns, columns < K, GELU, K)
        emit(y, out, columns, columns < K, token, static_scale, row_scale, K)
    else:
        kept = ()
        largest = tl.zeros([BLOCK], tl.float32)
        for part in tl.static_range(PARTS):
            place = part * BLOCK + columns
            y = _result(row, gate_up_scale, factor, place, place < K, GELU, K)
            largest = tl.maximum(largest, tl.abs(y))
            kept += (y,)  # type: ignore[assignment]
        scale = token_scale(tl.max(largest, 0))
        tl.store(row_scale + token, scale)
        for part in tl.static_range(PARTS):
            place = part * BLOCK + columns
            codes = to_fp8(kept[part] * (1.0 / scale), out)
            tl.store(out + token * K + place, codes, mask=place < K)


def reference(
    gate_up: torch.Tensor,
    shape: Shape,
    static_scale: torch.Tensor | None = None,
    raw_scales: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(out, row_scale where there is one); raw_scales: row_scale [T] and gate_up_scale [2 I]."""
    # In fp64: 1 + tanh(z) would lose fp32's last bits where it is almost 0.
    wide = gate_up.double()
    if raw_scales is not None:
        wide = wide * raw_scales[0].double()[:, None] * raw_scales[1].double()
    gate, up = wide.chunk(2, dim=-1)
    if shape.activation == "silu":
        y = torch.nn.functional.silu(gate) * up
    else:
        y = torch.nn.functional.gelu(gate, approximate="tanh") * up
    return fp8.reference(y.float(), shape.output, static_scale)
