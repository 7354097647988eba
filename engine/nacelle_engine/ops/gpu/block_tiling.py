"""How an op over FP8 blocks is cut into programs: a program makes some outputs of some tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nacelle_engine.ops.gpu.kernel import Constant, Kernel, TritonType
from nacelle_engine.program.launch import Size


@dataclass(frozen=True)
class BlockTiling:
    """The choices for one op; a tile of K is one block of 128, or `unroll` of them.

    rows      weight rows a program multiplies, a power of two from 64
    tokens    from 16, a power of two
    warps     of a program
    stages    tiles on their way at a time
    split     programs that share a sum over K, at most the number of blocks
    unroll    blocks that a turn of the loop over K takes; its turns divide a part's blocks evenly
    dependent it starts before its predecessor's end (sm_90 and later)
    """

    rows: int
    tokens: int
    warps: int
    stages: int
    split: int = 1
    unroll: int = 1
    dependent: bool = False

    @property
    def name(self) -> str:
        """The choices in letters that fit a file's name."""
        return (
            f"r{self.rows}t{self.tokens}w{self.warps}s{self.stages}x{self.split}u{self.unroll}"
            f"{'d' if self.dependent else ''}"
        )

    def slots(self, rows: int, tokens: int) -> tuple[int, int]:
        """Elements of `workspace` and of `arrived` for a step of `tokens`; none without a split."""
        if self.split == 1:
            return 0, 0
        tiles = -(-rows // self.rows) * -(-tokens // self.tokens)
        return tiles * self.split * self.rows * self.tokens, tiles

    def kernel(
        self,
        op: str,
        function: Any,
        arguments: Mapping[str, TritonType | None],
        constants: Mapping[str, Constant],
    ) -> Kernel:
        """The kernel `op` (its name, shape included) cut this way.

        arguments  in the function's order, None for one that is absent
        constants  the shape's; N counts weight rows
        """
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
            constants={
                **dict.fromkeys(absent),
                **constants,
                "BLOCK_N": self.rows,
                "BLOCK_T": self.tokens,
                "STAGES": self.stages,
                "SPLIT": self.split,
                "UNROLL": self.unroll,
                "DEPENDENT": self.dependent,
            },
            grid=(
                # Tiles of the same weights run side by side: these come from memory once.
                Size(symbol="T", divisor=self.tokens),
                Size(times=-(-int(constants["N"] or 0) // self.rows)),
                Size(times=self.split),
            ),
            warps=self.warps,
            stages=self.stages,
            dependent=self.dependent,
        )
