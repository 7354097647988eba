"""Runs a batch: its chunks become the program's tensors, the logits become token ids."""

from collections.abc import Callable

import numpy as np
import torch

from nacelle_engine.program.step import StepInput
from nacelle_runtime.batch import Batch
from nacelle_runtime.sampler import sample

Step = Callable[[StepInput], torch.Tensor]


class Runner:
    """One program, and how its KV cache is laid out; its logits stay on its device."""

    def __init__(self, run: Step, groups: int, tokens_per_block: int) -> None:
        self._run = run
        self._groups = groups
        self._size = tokens_per_block

    def run(self, batch: Batch) -> list[int]:
        """One step of the program; one token id for each draw of the batch."""
        with torch.inference_mode():
            logits = self._run(step_input(batch, self._groups, self._size))
            return sample(logits, batch.draws)


def step_input(batch: Batch, groups: int, tokens_per_block: int) -> StepInput:
    """The tensors of a batch; every KV group uses the same block table."""
    chunks = batch.chunks
    lengths = np.array([len(chunk.tokens) for chunk in chunks])
    q_start = np.zeros(len(chunks) + 1, dtype=np.int32)
    np.cumsum(lengths, out=q_start[1:])
    tables = np.zeros((len(chunks), max(len(c.blocks) for c in chunks)), dtype=np.int32)
    for row, chunk in enumerate(chunks):
        tables[row, : len(chunk.blocks)] = chunk.blocks
    owner = np.repeat(np.arange(len(chunks)), lengths)
    starts = np.array([chunk.start for chunk in chunks])
    positions = np.arange(batch.tokens) - q_start[:-1][owner] + starts[owner]
    slots = tables[owner, positions // tokens_per_block] * tokens_per_block
    slots = slots + positions % tokens_per_block
    rows = [q_start[row + 1] - 1 for row, chunk in enumerate(chunks) if chunk.draw is not None]
    table = torch.from_numpy(tables)
    return StepInput(
        token_ids=torch.tensor([t for c in chunks for t in c.tokens], dtype=torch.int64),
        positions=torch.from_numpy(positions.astype(np.int64)),
        slots=torch.from_numpy(slots.astype(np.int64)),
        q_start=torch.from_numpy(q_start),
        block_tables=(table,) * groups,
        seq_lens=torch.tensor([chunk.end for chunk in chunks], dtype=torch.int32),
        logits_rows=torch.tensor(rows, dtype=torch.int64),
    )
