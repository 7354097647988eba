"""The gated activation of an MLP, to FP8 E4M3 or bf16.

y[t, i] = act(gate_up[t, i]) * gate_up[t, I + i], then fp8.py's formula;
act: silu(g) = g / (1 + exp(-g)),
or gelu_tanh(g) = g / 2 * (1 + tanh(sqrt(2 / pi) (g + 0.044715 g^3))).

gate_up bf16 [T, 2 I]; out FP8 or bf16 [T, I]; row_scale fp32 [T] (per token) or static_scale
fp32 [1]. Where gate_up_scale fp32 [2 I] is given, gate_up is an FP8 product that nobody has scaled
yet: it counts times row_scale[t] * gate_up_scale, and row_scale is written afterwards.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from nacelle_engine.ops.gpu import fp8, row_kernel
from nacelle_engine.ops.gpu.fp8 import Output, emit
from nacelle_engine.ops.gpu.kernel import Kernel
from nacelle_engine.ops.gpu.row_kernel import Choice

Activation = Literal["silu", "gelu_tanh"]

_TWICE_SQRT_2_OVER_PI = tl.constexpr(1.5957691216057308)


@dataclass(frozen=True)
class Shape:
    """Rows of `width` results (I), and what they become; `raw`: gate_up is not scaled yet."""

    width: int
    output: Output
    activation: Activation = "silu"
    raw: bool = False


def choices(shape: Shape) -> tuple[Choice, ...]:
    """Candidates, the safe one first."""
    return row_kernel.choices(shape.width, whole_rows=shape.output.whole_rows)


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
        {"GELU": shape.activation == "gelu_tanh"},
        shape.width,
        choice,
        shape.output.architecture,
    )


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
    DEPENDENT: tl.constexpr,
):
    """A row of results, or without row_scale a part of it."""
    if DEPENDENT:
        gdc_launch_dependents()
        gdc_wait()
    token = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    live = columns < K
    place = gate_up + token * (2 * K) + columns
    gate = tl.load(place, mask=live, other=0.0).to(tl.float32)
    up = tl.load(place + K, mask=live, other=0.0).to(tl.float32)
    if gate_up_scale is not None:
        factor = tl.load(row_scale + token)
        gate *= factor * tl.load(gate_up_scale + columns, mask=live, other=0.0)
        up *= factor * tl.load(gate_up_scale + K + columns, mask=live, other=0.0)
    if GELU:
        # (1 + tanh(z)) / 2 is the logistic function of 2 z.
        inner = gate + 0.044715 * gate * gate * gate
        y = gate * tl.sigmoid(_TWICE_SQRT_2_OVER_PI * inner) * up
    else:
        y = gate * tl.sigmoid(gate) * up
    emit(y, out, columns, live, token, static_scale, row_scale, K)


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
