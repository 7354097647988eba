"""Times a kernel at its place, as a step would meet it: weights and cache cold, launches in a row.

Every launch takes the next of several layers' weights and caches, together larger than any L2, in
a CUDA graph of many launches; the time is the quickest graph's over its launches.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from nacelle_builder.compile.gpu.bindings import launch_of
from nacelle_builder.compile.gpu.lower import lower
from nacelle_builder.compile.gpu.places import Candidate, Chosen, Place
from nacelle_builder.compile.gpu.timed_step import timed_step
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.program.cells import Cells
from nacelle_engine.program.driver import DriverError, Function
from nacelle_engine.program.gpu import current_device
from nacelle_engine.program.launch import KernelFile, LaunchList
from nacelle_engine.program.replay import Binder, Scope
from nacelle_engine.program.rope_table import rope_tables
from nacelle_engine.program.signature import ProgramSpec, Signature, WeightSpec
from nacelle_engine.program.step_arrays import sizes_of, step_arrays
from nacelle_engine.program.step_buffers import StepBuffers, bytes_needed
from nacelle_engine.program.weights import DTYPES
from nacelle_engine.program.workspace import workspace
from nacelle_engine.recipe import Recipe

# Larger than the L2 of any GPU.
_ROTATED_BYTES = 256 << 20
_LAUNCHES = 24
_ROUNDS = 5
_CONTEXT = 1024
_DECODE = ("decode_attention",)


class Timer:
    """The tensors that every place needs, and the candidates' cubins in `rank`."""

    def __init__(
        self,
        rank: Path,
        cubins: Mapping[str, KernelFile],
        places: Sequence[Place],
        signature: Signature,
        spec: ModelSpec,
        recipe: Recipe,
    ) -> None:
        self._rank, self._cubins, self._signature = rank, cubins, signature
        self._device = current_device()
        self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        self._cells = Cells()
        self._inputs = StepBuffers(bytes_needed(signature), self._device, self._cells)
        self._buffers = _workspace(places, signature, spec, recipe, self._device)
        self._state = {"rope": rope_tables(signature)[0].to(self._device)}
        self._programs = {
            "embed": signature.embed,
            "logits": signature.head,
        }
        self._scopes: dict[str, list[Scope]] = {}
        self._caches = self._make_caches()
        self._logits = torch.empty(
            max(place.last for place in places if place.name == "logits"),
            signature.vocab_size,
            device=self._device,
        )
        self._cells.point("logits", self._logits.data_ptr())

    def nanoseconds(self, place: Place) -> dict[str, int]:
        """The time of each candidate that runs here."""
        found = {}
        for candidate in place.candidates:
            name = candidate.kernel.name
            if name in self._cubins:
                try:
                    found[name] = self._time(place, candidate)
                except DriverError:
                    # It asks for more shared memory or registers than this GPU has.
                    continue
        return found

    def close(self) -> None:
        """Give the memory back to the GPU."""
        self._scopes.clear()
        self._kv.clear()
        self._buffers.clear()
        torch.cuda.empty_cache()

    def _time(self, place: Place, candidate: Candidate) -> int:
        facts = self._cubins[candidate.kernel.name]
        functions = {facts.name: Function(self._rank, facts)}
        binder = Binder(
            functions, self._buffers, self._state, self._cells, self._stream.cuda_stream
        )
        step = timed_step(place.last, self._signature, _CONTEXT, decode=place.name in _DECODE)
        arrays = step_arrays(step, candidate.query_tile, self._signature.max_blocks)
        sizes = sizes_of(arrays)
        scopes = self._scopes_of(place.name)
        launch = launch_of(place.name, candidate.kernel)
        calls = [
            binder.launches((launch,), scopes[number % len(scopes)]) for number in range(_LAUNCHES)
        ]
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            self._inputs.send(arrays)
            self._cells.set_sizes(sizes)
            calls[0].run(sizes)
            self._stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            graph.capture_begin()
            try:
                for call in calls:
                    call.run(sizes)
            finally:
                graph.capture_end()
            return self._quickest(graph)

    def _quickest(self, graph: torch.cuda.CUDAGraph) -> int:
        times: list[float] = []
        for _ in range(_ROUNDS):
            begin, end = _event(), _event()
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end))
        return round(min(times) * 1e6 / _LAUNCHES)

    def _scopes_of(self, place: str) -> list[Scope]:
        """Copies of the program's weights, made when a place first asks; the old ones go."""
        program = self._programs.get(place, self._signature.kinds[0])
        if program.name not in self._scopes:
            self._scopes.clear()
            size = sum(_bytes(spec) for spec in program.weights)
            copies = min(max(-(-_ROTATED_BYTES // size), 2), _LAUNCHES)
            self._scopes[program.name] = [
                Scope(_random(program, self._device), number % self._caches)
                for number in range(copies)
            ]
        return self._scopes[program.name]

    def _make_caches(self) -> int:
        """Caches that rotate with the weights; how many there are."""
        group, signature = self._signature.kv_groups[0], self._signature
        length = min(_CONTEXT, signature.max_seq_len)
        size = signature.tokens_per_block
        blocks = 1 + signature.max_batch_size * -(-length // size)
        dtype = DTYPES[signature.kinds[0].state[0].dtype]
        self._kv = [
            torch.zeros(
                (blocks, 2, group.kv_heads, size, group.head_dim), dtype=dtype, device=self._device
            )
            for _ in range(4)
        ]
        for number, cache in enumerate(self._kv):
            self._cells.point("kv", cache.data_ptr(), number)
        return len(self._kv)


def _workspace(
    places: Sequence[Place],
    signature: Signature,
    spec: ModelSpec,
    recipe: Recipe,
    device: torch.device,
) -> dict[str, torch.Tensor]:
    """The buffers of any choice: each place's candidate that needs most."""
    greedy = [
        Chosen(place, max(place.candidates, key=lambda c: (c.partial, c.counters)))
        for place in places
    ]
    lowered = lower(spec, recipe, greedy)
    launches = LaunchList(
        kernels=(), buffers=lowered.buffers, steps=lowered.steps, heads=lowered.heads
    )
    return workspace(launches, signature, device)


def _random(program: ProgramSpec, device: torch.device) -> dict[str, torch.Tensor]:
    return {
        spec.name: torch.randn(spec.shape, device=device, dtype=torch.bfloat16).to(
            DTYPES[spec.dtype]
        )
        for spec in program.weights
    }


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def _bytes(spec: WeightSpec) -> int:
    return torch.Size(spec.shape).numel() * DTYPES[spec.dtype].itemsize
