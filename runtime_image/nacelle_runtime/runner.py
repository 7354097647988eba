"""Runs batches: their chunks become the program's tensors, the logits become token ids."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from nacelle_engine.bundle import Bundle
from nacelle_engine.program.program import Program
from nacelle_engine.program.step import StepInput
from nacelle_runtime.batch import Batch, Chunk, Drawn
from nacelle_runtime.block_tables import BlockTables
from nacelle_runtime.device_time import Marks, marks
from nacelle_runtime.sampling.sampler import Sampled, sample
from nacelle_runtime.upload import upload

Step = Callable[[StepInput], torch.Tensor]
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class InFlight:
    """A step that was launched: what it draws, its times, and the times of the one before."""

    sampled: Sampled
    marks: Marks
    before: Marks | None


class Runner:
    """One program, and how its KV cache is laid out; its logits stay on its device.

    The device runs steps in the order of their launch, so one may be launched before the one before
    has ended: the ids that this one draws are put in there.
    """

    def __init__(
        self, run: Step, groups: int, tokens_per_block: int, device: torch.device = _CPU
    ) -> None:
        self._run = run
        self._groups = groups
        self._size = tokens_per_block
        self._device = device
        self._tables = BlockTables()

    @classmethod
    def of(cls, bundle: Bundle, program: Program) -> Self:
        """The runner of a bundle's open program."""
        manifest = bundle.manifest
        groups = len(manifest.kv_groups)
        return cls(program.run, groups, manifest.tokens_per_block, program.device)

    def launch(self, batch: Batch, before: InFlight | None) -> InFlight:
        """Begin a step; on a GPU nothing here waits for the device.

        before: the step launched just before, if the batch awaits tokens of it, or to tell the time
        from its end.
        """
        times = marks(self._device)
        drawn = before.sampled.tokens if before is not None else None
        with torch.inference_mode():
            sampled = sample(self._run(self.step_input(batch, drawn)), batch)
        times.launched()
        return InFlight(sampled, times, before.marks if before is not None else None)

    def collect(self, step: InFlight) -> Drawn:
        """What a step drew, once it has ended: one token id for each draw of its batch."""
        step.marks.wait()
        drawn = step.sampled.drawn()
        if step.before is None:
            return drawn
        return drawn._replace(time=step.marks.since(step.before))

    def step_input(self, batch: Batch, drawn: torch.Tensor | None = None) -> StepInput:
        """The tensors of a batch; every KV group uses the same block table.

        drawn: int64 [D], the ids that the step before draws, on the device.
        """
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
            token_ids=self._token_ids(chunks, q_start, drawn),
            positions=torch.from_numpy(positions),
            slots=torch.from_numpy(slots),
            q_start=torch.from_numpy(q_start),
            block_tables=(table,) * self._groups,
            seq_lens=torch.from_numpy((starts + lengths).astype(np.int32)),
            logits_rows=torch.from_numpy(_rows(batch, q_start)),
        )

    def _token_ids(
        self, chunks: Sequence[Chunk], q_start: NDArray[np.int32], drawn: torch.Tensor | None
    ) -> torch.Tensor:
        """The ids int64 [T]: on the host, or on the device where some are awaited."""
        awaits = np.array([-1 if c.awaits is None else c.awaits for c in chunks], dtype=np.int64)
        if drawn is not None and len(drawn) == q_start[-1] and _same_rows(awaits):
            return drawn  # every answer goes on, and nothing else runs
        known = np.array([t for c in chunks for t in c.tokens], dtype=np.int64)
        waiting = awaits >= 0
        if not waiting.any():
            return torch.from_numpy(known)
        assert drawn is not None, "tokens are awaited and no step came before"
        draws = awaits[waiting]
        places = q_start[:-1][waiting].astype(np.int64)
        sent = upload(np.concatenate([known, places, draws]), self._device)
        ids, at, which = torch.split(sent, [len(known), len(places), len(draws)])
        return ids.index_copy_(0, at, drawn.index_select(0, which))


def _same_rows(awaits: NDArray[np.int64]) -> bool:
    """True when chunk n awaits draw n, for all of them."""
    return bool((awaits == np.arange(len(awaits))).all())


def _rows(batch: Batch, q_start: NDArray[np.int32]) -> NDArray[np.int64]:
    """Rows of the step whose logits are wanted: those of the draws, then those of the scores."""
    counts = np.array([len(chunk.draws) for chunk in batch.chunks], dtype=np.int64)
    earlier = np.cumsum(counts) - counts
    rows = [np.repeat(q_start[1:] - counts - earlier, counts) + np.arange(counts.sum())]
    for number, chunk in enumerate(batch.chunks):
        if chunk.score is not None:
            first = int(q_start[number]) + chunk.score.first
            rows.append(np.arange(first, first + len(chunk.score.targets)))
    return np.concatenate(rows)
