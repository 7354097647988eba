"""FlashInfer's libraries over odd steps, each against the fp32 reference."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from nacelle_bench.attention_contender import Contender, check
from nacelle_bench.attention_flashinfer import contender, layers_of, tolerance
from nacelle_bench.attention_workload import Workload, block_table, random_cache, workload
from nacelle_bench.gpu_time import captured
from nacelle_engine.limits import TOKENS_PER_BLOCK
from nacelle_engine.ops.gpu.attention_shape import AttentionShape
from nacelle_engine.program.attention_plan import Int32s, PlanArrays, plan_arrays
from nacelle_engine.program.flashinfer import Attention
from nacelle_engine.program.flashinfer_call import Captured

_Lengths = tuple[tuple[int, ...], tuple[int, ...]]
# (q_start, seq_lens): lengths on and beside the borders of blocks.
_DECODE: _Lengths = ((0, 1, 2, 3, 4, 5, 6), (1, 31, 32, 33, 257, 1000))
_STEPS: dict[str, _Lengths] = {
    "ragged prompts": ((0, 1, 8, 72, 272, 273), (1, 40, 64, 333, 1000)),
    "mixed step": ((0, 1, 2, 3, 131, 132, 645), (700, 33, 32, 900, 1, 513)),
}
_SPARE_COLUMNS = 3
_REQUESTS, _WIDTH = 8, 64
_STARTS: Int32s = np.arange(_REQUESTS + 1, dtype=np.int32)
# Largest lengths of the steps that one graph is replayed for.
_REPLAYED = (2048, 60, 2, 1500)
# Steps planned while the device is busy, and the cycles that keep it so.
_AHEAD, _CYCLES = 12, 2_000_000
MOST_REQUESTS, MOST_TOKENS, MOST_CAPTURED = _REQUESTS, 645, _REQUESTS


@dataclass(frozen=True)
class Checks:
    """What one library is checked on."""

    attention: Attention
    shape: AttentionShape
    device: torch.device

    def run(self) -> int:
        """How many steps were right; FidelityFailed names the first that is wrong."""
        steps = {"decode": _DECODE}
        if self.attention.library.algorithm != "decode":
            steps.update(_STEPS)
        for name, (q_start, seq_lens) in steps.items():
            starts, lengths = np.array(q_start, np.int32), np.array(seq_lens, np.int32)
            work = self._workload(starts, lengths, _SPARE_COLUMNS)
            check(contender(self.attention, work, None), work, name, MOST_REQUESTS)
        longest = np.full(_REQUESTS, _WIDTH * TOKENS_PER_BLOCK, np.int32)
        work = self._workload(_STARTS, longest, 0)
        return len(steps) + self._graph(work) + self._ahead(work)

    def _workload(self, q_start: Int32s, seq_lens: Int32s, spare: int) -> Workload:
        blocks = int((-(-seq_lens // TOKENS_PER_BLOCK)).sum()) + 1
        cache = random_cache(self.shape, blocks, self.device)
        return workload(self.shape, q_start, seq_lens, cache, spare)

    def _graph(self, work: Workload) -> int:
        """Captured once, planned again for other lengths, replayed."""
        layers, queries = layers_of(self.attention, work)
        plan = self.attention.plan(work.step, Captured(_REQUESTS, decode=True))
        replay = captured(lambda: self.attention.run(plan, layers[0]))
        for seed, most in enumerate(_REPLAYED):
            step = _random_step(most, seed)
            work.block_table.copy_(block_table(step.seq_lens, _WIDTH, seed))
            self.attention.replan(plan, step)
            replay()
            self._check(work, step, queries, layers[0].out, f"a graph replayed below {most}")
        return len(_REPLAYED)

    def _ahead(self, work: Workload) -> int:
        """Plans made long before the device takes them: none may overwrite another."""
        layers, queries = layers_of(self.attention, work)
        work.block_table.copy_(block_table(work.step.seq_lens, _WIDTH))
        steps = [_random_step(_WIDTH * TOKENS_PER_BLOCK, seed) for seed in range(_AHEAD)]
        outs = []
        for step in steps:
            torch.cuda._sleep(_CYCLES)  # type: ignore[no-untyped-call]
            self.attention.run(self.attention.plan(step), layers[0])
            outs.append(layers[0].out.clone())
        for number, (step, out) in enumerate(zip(steps, outs, strict=True)):
            self._check(work, step, queries, out, f"step {number} planned ahead")
        return _AHEAD

    def _check(
        self, work: Workload, step: PlanArrays, queries: torch.Tensor, out: torch.Tensor, what: str
    ) -> None:
        found = Contender(
            self.attention.library.name, lambda _layer: out, queries, tolerance(self.attention)
        )
        check(found, replace(work, step=step), what, MOST_REQUESTS)


def _random_step(most: int, seed: int) -> PlanArrays:
    lengths = np.random.default_rng(seed).integers(1, most, _REQUESTS).astype(np.int32)
    return plan_arrays(_STARTS, lengths, _WIDTH)
