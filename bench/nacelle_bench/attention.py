"""Attention over a paged cache: FlashInfer's libraries beside our kernels and compiled ones.

Every contender is held against an fp32 reference before it is timed; a wrong one ends the run.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nacelle_bench import attention_checks as checks
from nacelle_bench.attention_checks import Checks
from nacelle_bench.attention_contender import Contender, check, layer_microseconds
from nacelle_bench.attention_flashinfer import contender, opened, plan_microseconds
from nacelle_bench.attention_flex import FlexPages, flex_contender
from nacelle_bench.attention_gather import gather_contender
from nacelle_bench.attention_libraries import made_libraries, shapes_of
from nacelle_bench.attention_row import Measured, rows
from nacelle_bench.attention_triton import decode_contenders, prefill_contenders
from nacelle_bench.attention_workload import Case, Workload, random_cache, workload
from nacelle_bench.memory import gpu_read_bandwidth
from nacelle_bench.table import Table
from nacelle_engine.arch import Architecture
from nacelle_engine.limits import TOKENS_PER_BLOCK
from nacelle_engine.ops.gpu.attention_shape import AttentionShape
from nacelle_engine.program.attention_plan import plan_arrays
from nacelle_engine.program.attention_workspace import LargestStep
from nacelle_engine.program.flashinfer_call import Captured
from nacelle_engine.program.gpu import current_device

# Smaller cases rotate through layers of at least so much cache, far above any L2.
_CACHE_BYTES = 1 << 30
_CHECKED_REQUESTS = 4


@dataclass(frozen=True)
class Settings:
    """heads, kv_heads, head_dim: of the model; cases: sizes to time, one of decode at least;
    every_choice: all tile sizes of our kernels are timed and the quickest counts, not the first.
    """

    heads: int
    kv_heads: int
    head_dim: int
    cases: tuple[Case, ...]
    every_choice: bool


def bench_attention(
    settings: Settings, architecture: Architecture, libraries: Path | None
) -> Table:
    """Compile what the folder `libraries` lacks, check everything, time all contenders.

    architecture: this machine's. Raises FidelityFailed when a contender is wrong, CompileFailed
    when a library cannot be compiled.
    """
    shapes = shapes_of(settings.heads, settings.kv_heads, settings.head_dim, architecture)
    facts = _surroundings(settings)
    measured: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="nacelle-attention-") as scratch:
        for shape in shapes:
            bench = _Bench(settings, shape, libraries or Path(scratch))
            facts |= bench.facts()
            measured += bench.measured()
    return Table(facts, rows(measured))


def _surroundings(settings: Settings) -> dict[str, Any]:
    device = current_device()
    return {
        "gpu": torch.cuda.get_device_name(device),
        "torch": torch.__version__,
        "read GB/s": gpu_read_bandwidth(device) / 1e9,
        "heads": f"{settings.heads} over {settings.kv_heads} of {settings.head_dim}",
    }


class _Bench:
    """One type of cache: its libraries, opened."""

    def __init__(self, settings: Settings, shape: AttentionShape, folder: Path) -> None:
        self._settings, self._shape = settings, shape
        self._device = current_device()
        made = made_libraries(shape, folder)
        rank = folder / shape.architecture.value
        largest = _largest(settings, self._device)
        self._attentions = opened(made, rank, largest, self._device)

    def facts(self) -> dict[str, Any]:
        """Steps that each library was right on, and the host's time to plan the most requests."""
        decode = (case for case in self._settings.cases if not case.prefill)
        case = max(decode, key=lambda case: case.requests)
        step = plan_arrays(*case.lengths, -(-case.context // TOKENS_PER_BLOCK))
        found: dict[str, Any] = {}
        for attention in self._attentions:
            name = attention.library.name
            found[f"{name}, steps right"] = Checks(attention, self._shape, self._device).run()
            found[f"{name}, us of the host a plan"] = plan_microseconds(attention, step)
        return found

    def measured(self) -> list[Measured]:
        """Every case and contender, in order."""
        cache = random_cache(self._shape, self._blocks(), self._device)
        pages = None if self._shape.fp8 else FlexPages(cache)
        found = []
        for case in self._settings.cases:
            work = workload(self._shape, *case.lengths, cache)
            for one in self._contenders(case, work, pages):
                check(one, work, str(case), _CHECKED_REQUESTS)
                time = layer_microseconds(one, work, graph=not case.prefill)
                found.append(Measured(self._shape, case, one.name, time))
        return found

    def _contenders(
        self, case: Case, work: Workload, pages: FlexPages | None
    ) -> Iterator[Contender]:
        """One at a time: a library's next plan overwrites its last. Compiled ones take bf16."""
        unfit = "decode" if case.prefill else "fa3"
        captured = None if case.prefill else Captured(case.requests, decode=True)
        for attention in self._attentions:
            if attention.library.algorithm != unfit:
                yield contender(attention, work, captured)
        ours = prefill_contenders if case.prefill else decode_contenders
        yield from ours(work, every=self._settings.every_choice)
        if pages is not None:
            yield flex_contender(work, pages, case.context, prefill=case.prefill)
            if not case.prefill:
                yield gather_contender(work)

    def _blocks(self) -> int:
        shape = self._shape
        width = shape.head_dim * (1 if shape.fp8 else 2)
        least = _CACHE_BYTES // (2 * shape.kv_heads * TOKENS_PER_BLOCK * width)
        return max(least, *(case.blocks for case in self._settings.cases))


def _largest(settings: Settings, device: torch.device) -> LargestStep:
    """Room for every case and every check."""
    decode = (case.tokens for case in settings.cases if not case.prefill)
    return LargestStep(
        requests=max(checks.MOST_REQUESTS, *(case.requests for case in settings.cases)),
        tokens=max(checks.MOST_TOKENS, *(case.tokens for case in settings.cases)),
        captured_tokens=max(checks.MOST_CAPTURED, *decode),
        heads=settings.heads,
        multiprocessors=torch.cuda.get_device_properties(device).multi_processor_count,
    )
