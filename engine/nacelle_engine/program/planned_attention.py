"""Prebuilt attention inside a launch list: opened once, planned once a step, run once a layer."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from nacelle_engine.program.attention_library import AttentionLibrary
from nacelle_engine.program.attention_plan import PlanArrays, plan_arrays
from nacelle_engine.program.attention_workspace import LargestStep, float_bytes
from nacelle_engine.program.flashinfer import Attention, Plan
from nacelle_engine.program.flashinfer_call import Layer
from nacelle_engine.program.launch import PagedAttentionLaunch
from nacelle_engine.program.signature import Signature
from nacelle_engine.program.step_arrays import Arrays
from nacelle_engine.program.step_buffers import StepBuffers


class PlannedAttention:
    """One library with one window; its plan serves every layer that attends so."""

    def __init__(self, attention: Attention) -> None:
        self.library = attention.library
        self._attention = attention
        self._plan: Plan | None = None

    def plan(self, step: PlanArrays) -> None:
        """Plan the step to come on the current stream."""
        self._plan = self._attention.plan(step)

    def run(self, layer: Layer) -> None:
        """Write `layer.out` of the step that was planned last."""
        assert self._plan is not None, f"{self.library.name} is run before it is planned"
        self._attention.run(self._plan, layer)


class Attentions:
    """The libraries of a launch list, and the block table of each KV group in the planned step."""

    def __init__(
        self,
        rank: Path,
        libraries: Iterable[AttentionLibrary],
        signature: Signature,
        device: torch.device,
    ) -> None:
        self._rank, self._device = rank, device
        self._libraries = {library.name: library for library in libraries}
        # Groups differ in what they keep, not in their heads.
        self._kv_heads = signature.kv_groups[0].kv_heads
        self._signature = signature
        self._opened: dict[tuple[str, int], PlannedAttention] = {}
        self._workspace: torch.Tensor | None = None
        self.tables: list[torch.Tensor] = []
        # What FP8 queries are multiplied by: they are the bfloat16 ones, rounded to E4M3.
        self.q_scale = torch.ones(1, device=device)

    def at(self, launch: PagedAttentionLaunch) -> PlannedAttention:
        """What the launch runs: layers with the same library and window share a plan."""
        key = (launch.library, launch.window)
        if key not in self._opened:
            self._opened[key] = PlannedAttention(self._open(*key))
        return self._opened[key]

    def plan(self, planned: Sequence[PlannedAttention], arrays: Arrays, sent: StepBuffers) -> None:
        """Plan the step whose arrays were `sent`, for the libraries that its launches run."""
        groups = range(len(self._signature.kv_groups))
        self.tables = [sent.view("block_table", n, arrays[f"block_table.{n}"]) for n in groups]
        q_start, seq_lens = (arrays[name].astype(np.int32) for name in ("q_start", "seq_lens"))
        step = plan_arrays(q_start, seq_lens, self.tables[0].shape[1])
        for one in planned:
            one.plan(step)

    def _open(self, name: str, window: int) -> Attention:
        library, signature = self._libraries[name], self._signature
        largest = LargestStep(
            requests=signature.max_batch_size,
            tokens=signature.max_num_tokens,
            captured_tokens=0,
            heads=self._kv_heads * library.group_size,
            multiprocessors=multiprocessors(self._device),
        )
        size = float_bytes(library, largest)
        if self._workspace is None or self._workspace.nbytes < size:
            self._workspace = torch.empty(size, dtype=torch.uint8, device=self._device)
        return Attention(library, self._rank, largest, self._workspace, window or None)


def multiprocessors(device: torch.device) -> int:
    """How many the device has."""
    count: int = torch.cuda.get_device_properties(device).multi_processor_count
    return count
