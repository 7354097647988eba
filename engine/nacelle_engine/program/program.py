"""A bundle's program, opened and ready to run: what the gate and the runtime call."""

from pathlib import Path
from typing import Protocol

import torch

from nacelle_engine.program.load_times import LoadTimes
from nacelle_engine.program.signature import Signature, read_signature
from nacelle_engine.program.step import StepInput


class Program(Protocol):
    """The program of one rank with its weights; one step at a time, one thread."""

    signature: Signature
    device: torch.device

    @property
    def kv_bytes_per_block(self) -> int:
        """Bytes that one block takes in all layers together (keys and values)."""
        ...

    @property
    def weight_bytes_per_token(self) -> int:
        """Bytes of weights that a step of one token reads: layers and head, one embedding row."""
        ...

    @property
    def load_times(self) -> LoadTimes:
        """What loading took; graphs are captured when the KV cache is made."""
        ...

    def allocate_kv(self, blocks: int) -> None:
        """Make the KV cache: blocks 0 to blocks - 1, of which block 0 takes the padding.

        One tensor a layer, [blocks, 2, kv_heads, tokens_per_block, head_dim], K at index 0;
        calling again replaces (and empties) the cache.
        """
        ...

    def run(self, step: StepInput) -> torch.Tensor:
        """One step of host tensors: fills the cache, gives float32 logits [L, vocab] on `device`.

        They hold until the next step. Raises ValueError when a shape, dtype or index of the step
        is not what the program takes.
        """
        ...


def open_program(rank: Path, threads: int | None = None) -> Program:
    """Load rank<N> of a bundle (whose target was checked before); CorruptBundle if it disagrees.

    threads: how many a CPU's kernels use; None leaves torch's own choice.
    """
    signature = read_signature(rank)
    # Imported when chosen: a machine without a GPU need not have the driver's bindings.
    if signature.form == "launches":
        from nacelle_engine.program.gpu import GpuProgram

        return GpuProgram(rank, signature)
    from nacelle_engine.program.cpu import CpuProgram

    if threads is not None:
        torch.set_num_threads(threads)
    return CpuProgram(rank, signature)
