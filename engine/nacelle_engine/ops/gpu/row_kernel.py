"""Ops that take rows [T, K] one after another: how a row is cut, and the `Kernel` of such an op."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu.capability import depends
from nacelle_engine.ops.gpu.kernel import Constant, Kernel
from nacelle_engine.program.launch import ONE, Size, Symbol


@dataclass(frozen=True)
class Choice:
    """How a row is cut.

    columns  a block of it (rounded up to a power of two)
    warps    of a program
    parts    blocks that a program takes
    """

    columns: int
    warps: int
    parts: int = 1


def choices(columns: int, *, whole_rows: bool) -> tuple[Choice, ...]:
    """Candidates for rows of so many columns, the safe one first."""
    if not whole_rows:
        block = triton.next_power_of_2(columns)
        parts = dict.fromkeys(min(part, block) for part in (2048, 1024, 4096))
        return tuple(Choice(part, max(1, part // 512)) for part in parts)
    block = triton.next_power_of_2(columns)
    # 8 to 64 elements a thread; 32 warps are a program's most.
    warps = [min(32, max(1, block // (32 * each))) for each in (32, 16, 64, 8)]
    return tuple(Choice(columns, count) for count in dict.fromkeys(warps))


def row_kernel(
    op: str,
    function: Any,
    arguments: Mapping[str, str | None],
    constants: Mapping[str, Constant],
    columns: int,
    choice: Choice,
    architecture: Architecture,
    *,
    symbol: Symbol = "T",
) -> Kernel:
    """Grid (rows, programs a row); `function` gets K = columns, BLOCK and DEPENDENT besides.

    arguments  in the function's order, None for one that is absent
    symbol     counts the rows
    """
    block = triton.next_power_of_2(min(columns, choice.columns))
    parts = f"p{choice.parts}" if choice.parts > 1 else ""
    absent = [name for name, kind in arguments.items() if kind is None]
    return Kernel(
        name=f"{op}_n{columns}_b{block}{parts}_w{choice.warps}",
        function=function,
        arguments={name: kind for name, kind in arguments.items() if kind is not None},
        constants={
            **dict.fromkeys(absent),
            **constants,
            "K": columns,
            "BLOCK": block,
            "DEPENDENT": depends(architecture),
        },
        grid=(Size(symbol=symbol), Size(times=-(-columns // (block * choice.parts))), ONE),
        warps=choice.warps,
        dependent=depends(architecture),
    )


@triton.jit
def norm_weights(norm, K: tl.constexpr, BLOCK: tl.constexpr, DEPENDENT: tl.constexpr):
    """(columns, those within the row, the norm's weights in fp32), while predecessors still run."""
    if DEPENDENT:
        gdc_launch_dependents()
    columns = tl.arange(0, BLOCK)
    live = columns < K
    weight = tl.load(norm + columns, mask=live, other=0.0).to(tl.float32)
    if DEPENDENT:
        gdc_wait()
    return columns, live, weight
