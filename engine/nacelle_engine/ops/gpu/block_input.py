"""The residual stream after the embedding as FP8 blocks, for the first layer's projection.

x_squares[b, t] = sum_(k in b) x[t, k]^2; x_codes, x_scales: block_scales.py's of x * norm

x bf16 [T, K]; norm bf16 [K]; x_codes FP8 E4M3 [T, K]; x_scales, x_squares fp32 [K / 128, 256].
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu.block_scales import BLOCK, COLUMNS, MOST_TOKENS, emit_stream, stream
from nacelle_engine.ops.gpu.capability import depends
from nacelle_engine.ops.gpu.kernel import Kernel
from nacelle_engine.ops.gpu.predecessor import wait_for_predecessor
from nacelle_engine.program.launch import ONE, Size


@dataclass(frozen=True)
class Shape:
    """Rows of `width` elements (K), a multiple of 128."""

    width: int


@dataclass(frozen=True)
class Choice:
    """tokens: a program's, a power of two; warps: its own."""

    tokens: int
    warps: int
    dependent: bool = False


@triton.jit
def block_input(
    x,
    norm,
    x_codes,
    x_scales,
    x_squares,
    T,
    K: tl.constexpr,
    BLOCK_T: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    """One program: one block of columns of BLOCK_T tokens."""
    columns = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    norms = tl.load(norm + columns).to(tl.float32)
    wait_for_predecessor(DEPENDENT)
    tokens = tl.program_id(1) * BLOCK_T + tl.arange(0, BLOCK_T)
    pointers = x + tokens.to(tl.int64)[None, :] * K + columns[:, None]
    values = tl.load(pointers, mask=(tokens < T)[None, :], other=0.0).to(tl.float32)
    block = tl.program_id(0)
    emit_stream(values, norms, x_codes, x_scales, x_squares, block, tokens, T, K)


def choices(shape: Shape, tokens: int, architecture: Architecture) -> tuple[Choice, ...]:
    """The ways worth timing for steps of `tokens`, the first safe untimed; () if it can't be."""
    if (
        shape.width % COLUMNS
        or tokens > MOST_TOKENS
        or (architecture.compute_capability or (0, 0)) < (8, 9)
    ):
        return ()
    most = triton.next_power_of_2(tokens)
    sizes = dict.fromkeys(min(most, size) for size in (8, 4, 16))
    return tuple(Choice(size, 4, depends(architecture)) for size in sizes)


def kernel(shape: Shape, choice: Choice) -> Kernel:
    """Grid (blocks, parts of T)."""
    return Kernel(
        name=f"block_input_k{shape.width}_t{choice.tokens}w{choice.warps}"
        f"{'d' if choice.dependent else ''}",
        function=block_input,
        arguments={
            "x": "*bf16",
            "norm": "*bf16",
            "x_codes": "*fp8e4nv",
            "x_scales": "*fp32",
            "x_squares": "*fp32",
            "T": "i32",
        },
        constants={
            "K": shape.width,
            "BLOCK_T": choice.tokens,
            "DEPENDENT": choice.dependent,
        },
        grid=(Size(times=shape.width // COLUMNS), Size(symbol="T", divisor=choice.tokens), ONE),
        warps=choice.warps,
        dependent=choice.dependent,
    )


def reference(
    x: torch.Tensor, norm: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes, scales and squares."""
    return stream(x, norm)
