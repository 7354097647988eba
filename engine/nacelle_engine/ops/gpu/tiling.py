"""How a linear op is cut into programs: a program makes some outputs of some tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nacelle_engine.ops.gpu.kernel import Constant, Kernel, TritonType
from nacelle_engine.program.launch import Size, Symbol

WeightType = Literal["fp8e4nv", "bf16"]


@dataclass(frozen=True)
class Tiling:
    """The choices for one linear op.

    rows      weight rows a program multiplies, a power of two; norm_gate_up counts gate and up
    width     elements of K in a tile, a power of two from 16
    tokens    1: products in float32 by CUDA cores; from 8, a power of two: by tensor cores
    warps     of a program
    stages    tiles on their way at a time
    bits      FP8 codes are moved into place as bytes, not converted: needed on sm_80
    split     programs that share a sum over K, at most the number of tiles
    prefetch  a program asks for all of its weights in L2 at its start (sm_90 and later)
    dependent it starts before its predecessor's end (sm_90 and later)
    """

    rows: int
    width: int
    tokens: int
    warps: int
    stages: int
    bits: bool = False
    split: int = 1
    prefetch: bool = False
    dependent: bool = False

    def __post_init__(self) -> None:
        if self.prefetch and self.rows > 32 * self.warps:
            raise ValueError(
                f"prefetch asks for a row in each thread: {self.rows} rows need more than "
                f"{self.warps} warps"
            )

    @property
    def name(self) -> str:
        """The choices in letters that fit a file's name."""
        flags = (("b", self.bits), ("p", self.prefetch), ("d", self.dependent))
        return (
            f"r{self.rows}k{self.width}t{self.tokens}w{self.warps}s{self.stages}x{self.split}"
            f"{''.join(letter for letter, on in flags if on)}"
        )

    def weight_type(self, weight: WeightType) -> TritonType:
        """How a weight of this type is bound."""
        return "*u8" if self.bits and weight == "fp8e4nv" else f"*{weight}"

    def slots(self, rows: int, tokens: int) -> tuple[int, int]:
        """Elements of `workspace` and of `arrived` for a step of `tokens`; none without a split."""
        if self.split == 1:
            return 0, 0
        tiles = -(-rows // self.rows) * -(-tokens // self.tokens)
        return tiles * self.split * (self.rows + 1) * self.tokens, tiles

    def kernel(
        self,
        op: str,
        function: Any,
        arguments: Mapping[str, TritonType | None],
        constants: Mapping[str, Constant],
        symbol: Symbol = "T",
    ) -> Kernel:
        """The kernel `op` (its name, shape included) cut this way.

        arguments  in the function's order, None for one that is absent
        constants  the shape's; N counts weight rows
        symbol     counts the tokens
        """
        own = {
            "BLOCK_N": self.rows,
            "BLOCK_K": self.width,
            "BLOCK_T": self.tokens,
            "STAGES": self.stages,
            "SPLIT": self.split,
            "PREFETCH": self.prefetch,
            "DEPENDENT": self.dependent,
        }
        shared: Mapping[str, TritonType | None] = {
            "workspace": "*fp32" if self.split > 1 else None,
            "arrived": "*i32" if self.split > 1 else None,
        }
        arguments = {**arguments, **shared}
        absent = [name for name, kind in arguments.items() if kind is None]
        return Kernel(
            name=f"{op}_{self.name}",
            function=function,
            arguments={name: kind for name, kind in arguments.items() if kind is not None},
            constants={**dict.fromkeys(absent), **constants, **own},
            grid=(
                Size(times=-(-int(constants["N"] or 0) // self.rows)),
                Size(symbol=symbol, divisor=self.tokens),
                Size(times=self.split),
            ),
            warps=self.warps,
            stages=self.stages,
            dependent=self.dependent,
        )
