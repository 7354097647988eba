"""Runs a batch: its chunks become the program's tensors, the logits become token ids."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from nacelle_engine.program.step import StepInput
from nacelle_runtime.batch import Batch, Drawn
from nacelle_runtime.block_tables import BlockTables
from nacelle_runtime.sampling.sampler import sample

Step = Callable[[StepInput], torch.Tensor]


class Runner:
    """One program, and how its KV cache is laid out; its logits stay on its device."""

    def __init__(self, run: Step, groups: int, tokens_per_block: int) -> None:
        self._run = run
        self._groups = groups
        self._size = tokens_per_block
        self._tables = BlockTables()

    def run(self, batch: Batch) -> Drawn:
        """One step of the program; one token id for each draw of the batch."""
        with torch.inference_mode():
            logits = self._run(self.step_input(batch))
            return sample(logits, batch)

    def step_input(self, batch: Batch) -> StepInput:
        """The tensors of a batch; every KV group uses the same block table."""
        chunks, size = batch.chunks, self._size
        lengths = np.array([len(chunk.tokens) for chunk in chunks])
        starts = np.array([chunk.start for chunk in chunks])
        q_start = np.zeros(len(chunks) + 1, dtype=np.int32)
        np.cumsum(lengths, out=q_start[1:])
        tables = self._tables.rows(chunks)
        owner = np.repeat(np.arange(len(chunks)), lengths)
        positions = np.arange(len(owner)) + (starts - q_start[:-1])[owner]
        slots = tables[owner, positions // size].astype(np.int64) * size + positions % size
        table = torch.from_numpy(tables)
        return StepInput(
            token_ids=torch.from_numpy(
                np.array([t for c in chunks for t in c.tokens], dtype=np.int64)
            ),
            positions=torch.from_numpy(positions),
            slots=torch.from_numpy(slots),
            q_start=torch.from_numpy(q_start),
            block_tables=(table,) * self._groups,
            seq_lens=torch.from_numpy((starts + lengths).astype(np.int32)),
            logits_rows=torch.from_numpy(_rows(batch, q_start)),
        )


def _rows(batch: Batch, q_start: NDArray[np.int32]) -> NDArray[np.int64]:
    """Rows of the step whose logits are wanted: those of the draws, then those of the scores."""
    drawn = np.array([chunk.draw is not None for chunk in batch.chunks])
    rows = [q_start[1:][drawn].astype(np.int64) - 1]
    for number, chunk in enumerate(batch.chunks):
        if chunk.score is not None:
            first = int(q_start[number]) + chunk.score.first
            rows.append(np.arange(first, first + len(chunk.score.targets)))
    return np.concatenate(rows)
