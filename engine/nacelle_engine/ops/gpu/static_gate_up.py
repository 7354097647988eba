"""The gate and up projections of FP8 activations and the gated activation, FP8 with static scales.

inner_codes[t, i] = e4m3(clamp(act(gate[t, i]) * up[t, i] / static_scale))
gate[t, i] = input_scale * scale[i] * sum_k weight[i, k] * x_codes[t, k],
up likewise by rows and scales I + i; act as in gated.py

x_codes FP8 E4M3 [T, K]; input_scale fp32 [1]; weight FP8 [2 I, K]; scale fp32 [2 I];
static_scale fp32 [1]; inner_codes FP8 [T, I].

Both products of a column are in one program, so that nothing is written between: a library's
product would leave [T, 2 I] for a launch more.
"""

from dataclasses import dataclass
from typing import Final

import torch
import triton
import triton.language as tl

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu import fp8
from nacelle_engine.ops.gpu.capability import depends, fp8_converts, shared_memory
from nacelle_engine.ops.gpu.fp8 import Output, to_fp8
from nacelle_engine.ops.gpu.gated import Activation, gated, gated_reference
from nacelle_engine.ops.gpu.kernel import Kernel
from nacelle_engine.ops.gpu.predecessor import wait_for_predecessor
from nacelle_engine.precision import QuantizationAlgorithm
from nacelle_engine.program.launch import ONE, Size

# Tensor cores take 32 FP8 values of K at a time.
_LEAST_WIDTH: Final = 32
_MOST_WIDTH: Final = 128
# (tokens, columns, warps, stages) of a program, the safe one first.
_TILES: Final = (
    (64, 64, 4, 3),
    (64, 64, 4, 4),
    (64, 64, 4, 6),
    (64, 128, 8, 4),
    (128, 64, 8, 3),
    (128, 64, 4, 3),
    (128, 64, 8, 4),
    (128, 64, 8, 6),
    (128, 128, 8, 3),
    (128, 128, 8, 4),
    (256, 64, 8, 3),
    (256, 64, 8, 4),
)


@dataclass(frozen=True)
class Shape:
    """`rows` outputs (I) of `width` inputs (K), and the gate's activation."""

    rows: int
    width: int
    activation: Activation = "silu"
    architecture: Architecture = Architecture.SM_90

    @property
    def step(self) -> int:
        """Columns of K that a turn of the loop takes: the largest that divide it."""
        return min(_MOST_WIDTH, self.width & -self.width)


@dataclass(frozen=True)
class Choice:
    """tokens, columns: what a program makes of inner_codes; stages: tiles on their way."""

    tokens: int
    columns: int
    warps: int
    stages: int


def choices(shape: Shape, tokens: int) -> tuple[Choice, ...]:
    """Candidates for steps of up to `tokens`, the safe one first; () if it can't be."""
    if not fp8_converts(shape.architecture) or shape.step < _LEAST_WIDTH:
        return ()
    limit = shared_memory(shape.architecture)
    # Tiles of twice the tokens that there are would be half empty.
    return tuple(
        choice
        for choice in (Choice(*tile) for tile in _TILES)
        if choice.tokens == _TILES[0][0] or choice.tokens < 2 * tokens
        if choice.stages * (choice.tokens + 2 * choice.columns) * shape.step <= limit
    )


def kernel(shape: Shape, choice: Choice) -> Kernel:
    """Grid (tiles of tokens, tiles of columns): tiles of the same weights run side by side."""
    tile = f"t{choice.tokens}c{choice.columns}w{choice.warps}s{choice.stages}"
    return Kernel(
        name=f"static_gate_up_{shape.activation}_n{shape.rows}k{shape.width}_{tile}",
        function=static_gate_up,
        arguments={
            "x_codes": "*fp8e4nv",
            "input_scale": "*fp32",
            "weight": "*fp8e4nv",
            "scale": "*fp32",
            "static_scale": "*fp32",
            "inner_codes": "*fp8e4nv",
            "T": "i32",
        },
        constants={
            "N": shape.rows,
            "K": shape.width,
            "GELU": shape.activation == "gelu_tanh",
            "BLOCK_T": choice.tokens,
            "BLOCK_N": choice.columns,
            "BLOCK_K": shape.step,
            "STAGES": choice.stages,
            "DEPENDENT": depends(shape.architecture),
        },
        grid=(
            Size(symbol="T", divisor=choice.tokens),
            Size(times=-(-shape.rows // choice.columns)),
            ONE,
        ),
        warps=choice.warps,
        stages=choice.stages,
        dependent=depends(shape.architecture),
    )


@triton.jit
def static_gate_up(
    x_codes,
    input_scale,
    weight,
    scale,
    static_scale,
    inner_codes,
    T,
    N: tl.constexpr,
    K: tl.constexpr,
    GELU: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    """BLOCK_N columns of inner_codes for BLOCK_T tokens."""
    tokens = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    held = tl.minimum(columns, N - 1)
    gate_scales = tl.load(scale + held)
    up_scales = tl.load(scale + N + held)
    factor = tl.load(input_scale)
    inverse = 1.0 / tl.load(static_scale)
    k = tl.arange(0, BLOCK_K)
    gate_rows = weight + held.to(tl.int64)[:, None] * K + k[None, :]
    up_rows = gate_rows + N * K
    present = tl.minimum(tokens, T - 1)
    rows = x_codes + present.to(tl.int64)[:, None] * K + k[None, :]
    wait_for_predecessor(DEPENDENT)
    gate = tl.zeros([BLOCK_T, BLOCK_N], tl.float32)
    up = tl.zeros([BLOCK_T, BLOCK_N], tl.float32)
    for start in tl.range(0, K, BLOCK_K, num_stages=STAGES):
        x = tl.load(rows + start)
        gate_tile = tl.load(gate_rows + start)
        up_tile = tl.load(up_rows + start)
        gate = tl.dot(x, tl.trans(gate_tile), gate)
        up = tl.dot(x, tl.trans(up_tile), up)
    inner = gated(gate * (gate_scales * factor)[None, :], up * (up_scales * factor)[None, :], GELU)
    place = inner_codes + tokens.to(tl.int64)[:, None] * N + columns[None, :]
    live = (tokens < T)[:, None] & (columns < N)[None, :]
    tl.store(place, to_fp8(inner * inverse, inner_codes), mask=live)


def reference(
    x_codes: torch.Tensor,
    input_scale: torch.Tensor,
    weight: torch.Tensor,
    scale: torch.Tensor,
    static_scale: torch.Tensor,
    shape: Shape,
) -> torch.Tensor:
    """inner_codes, the products in float32."""
    products = x_codes.float() @ weight.float().T * (scale * input_scale)
    inner = gated_reference(products, shape.activation)
    output = Output(QuantizationAlgorithm.FP8, shape.architecture)
    return fp8.reference(inner, output, static_scale)[0]
