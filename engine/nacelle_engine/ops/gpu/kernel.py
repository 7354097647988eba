"""One way to do a fused op for one shape: a Triton function with all compile-time choices made.

The builder compiles a `Kernel` to a cubin (no GPU needed); tests interpret it on the CPU. Ops give
`Kernel`s and never launch anything themselves.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nacelle_engine.program.launch import Grid

# Triton's names of types: "*bf16", "*fp8e4nv", "*fp32", "*i64", "*i32" for pointers, "i32" for T.
TritonType = str
Constant = int | float | bool | str | None


@dataclass(frozen=True)
class Kernel:
    """A Triton function, its run-time arguments in order, and what is fixed when it is compiled.

    name       unique among the kernels of an engine: op, shape and choices
    arguments  run-time argument -> type, in the function's order; every pointer is 16-byte aligned
    constants  tl.constexpr argument -> value; None for an argument that this kernel has not
    grid       programs in x, y, z
    dependent  starts before its predecessor's end (programmatic dependent launch): the function
               calls gdc_wait before it reads what the predecessor wrote
    """

    name: str
    function: Any
    arguments: Mapping[str, TritonType]
    constants: Mapping[str, Constant]
    grid: Grid
    warps: int = 4
    stages: int = 3
    dependent: bool = False
