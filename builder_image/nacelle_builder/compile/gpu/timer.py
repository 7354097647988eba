"""Times a kernel at its place, as a step would meet it: weights and cache cold, launches in a row.

Every launch takes the next of several layers' weights and caches, together larger than any L2, in
a CUDA graph of many launches; the time is the quickest graph's over its launches.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from nacelle_builder.compile.gpu.bindings import launches_of
from nacelle_builder.compile.gpu.buffers import buffers
from nacelle_builder.compile.gpu.lower import plan_of
from nacelle_builder.compile.gpu.place import Candidate, Chosen, Place, kernels_of, libraries_of
from nacelle_builder.compile.gpu.timed_step import timed_step
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.program.cells import Cells
from nacelle_engine.program.driver import DriverError, Function
from nacelle_engine.program.gpu import current_device
from nacelle_engine.program.launch import KernelFile, LaunchList
from nacelle_engine.program.planned_attention import Attentions
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
# A graph takes about so long, in as many launches as that allows.
_GRAPH_MILLISECONDS = 20
# Contexts that attention is timed with: nobody knows a step's, so both count alike.
_CONTEXTS = (256, 1024)
_DECODE = ("decode_attention", "block_attention")
# Scales of FP8 blocks: of 0, as a workspace has them, products would be none.
_SCALES = ("x_scales", "attention_scales", "inner_scales")


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
        # Layers of all kinds are timed with the first one's table.
        self._state = {"rope": [rope_tables(signature)[0].to(self._device)], "kv": []}
        libraries = libraries_of(one for place in places for one in place.candidates)
        self._attentions = Attentions(rank, libraries, signature, self._device)
        self._programs = {
            "embed": signature.embed,
            "block_input": signature.embed,
            "first_quantise": signature.embed,
            "logits": signature.head,
        }
        self._scopes: dict[str, list[Scope]] = {}
        self._kv = self._make_cache()
        self._logits = torch.empty(
            max(place.last for place in places if place.name == "logits"),
            signature.vocab_size,
            device=self._device,
        )
        self._cells.point("logits", self._logits.data_ptr())
        self._state["logits"] = [self._logits]

    def nanoseconds(self, place: Place) -> dict[str, int]:
        """The time of each candidate that runs here."""
        found = {}
        for candidate in place.candidates:
            if kernels_of([candidate]).keys() <= self._cubins.keys():
                name = candidate.kernel.name
                contexts = _CONTEXTS if place.name in _DECODE else _CONTEXTS[-1:]
                try:
                    found[name] = self._time(place, candidate, contexts)
                except DriverError:
                    # It asks for more shared memory or registers than this GPU has.
                    continue
        return found

    def close(self) -> None:
        """Give the memory back to the GPU."""
        self._scopes.clear()
        self._state.clear()
        del self._kv, self._attentions
        self._buffers.clear()
        torch.cuda.empty_cache()

    def _time(self, place: Place, candidate: Candidate, contexts: Sequence[int]) -> int:
        """Nanoseconds, the geometric mean of those with each context."""
        taken = [self._time_at(place, candidate, context) for context in contexts]
        return round(math.prod(taken) ** (1 / len(taken)))

    def _time_at(self, place: Place, candidate: Candidate, context: int) -> float:
        binder = Binder(
            {name: Function(self._rank, self._cubins[name]) for name in kernels_of([candidate])},
            self._buffers,
            self._state,
            self._cells,
            self._stream.cuda_stream,
            self._attentions,
        )
        step = timed_step(place.last, self._signature, context, decode=place.name in _DECODE)
        arrays = step_arrays(step, candidate.query_tile, self._signature.max_blocks)
        sizes = sizes_of(arrays)
        self._spread_caches(1 + int(step.block_tables[0].max()))
        scopes = self._scopes_of(place.name)
        launches = launches_of(place.name, candidate.kernel)
        calls = [binder.launches(launches, scope) for scope in scopes]
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            self._inputs.send(arrays)
            self._attentions.plan(calls[0].planned, arrays, self._inputs)
            self._cells.set_sizes(sizes)
            calls[0].run(sizes)
            once = self._milliseconds(lambda: calls[1].run(sizes))
            count = max(2, min(len(calls), round(_GRAPH_MILLISECONDS / max(once, 1e-3))))
            graph = torch.cuda.CUDAGraph()
            graph.capture_begin()
            try:
                for call in calls[:count]:
                    call.run(sizes)
            finally:
                graph.capture_end()
            best = min(self._milliseconds(graph.replay) for _ in range(_ROUNDS))
        return best * 1e6 / count

    def _milliseconds(self, run: Callable[[], None]) -> float:
        begin, end = _event(), _event()
        begin.record()
        run()
        end.record()
        end.synchronize()
        taken: float = begin.elapsed_time(end)
        return taken

    def _scopes_of(self, place: str) -> list[Scope]:
        """A scope a launch, over copies of the weights made when a place first asks."""
        program = self._programs.get(place, self._signature.kinds[0])
        if program.name not in self._scopes:
            self._scopes.clear()
            # A place reads one matrix of the program: the smallest must not stay in the L2 either.
            smallest = min(_bytes(spec) for spec in program.weights if len(spec.shape) > 1)
            copies = min(max(-(-_ROTATED_BYTES // smallest), 2), _LAUNCHES)
            made = [_random(program, self._device) for _ in range(copies)]
            self._scopes[program.name] = [
                Scope(made[number % copies], number) for number in range(_LAUNCHES)
            ]
        return self._scopes[program.name]

    def _make_cache(self) -> torch.Tensor:
        """One layer's cache, large enough for the largest step several times over."""
        group, signature = self._signature.kv_groups[0], self._signature
        size = signature.tokens_per_block
        width = -(-min(_CONTEXTS[-1], signature.max_seq_len) // size)
        blocks = 4 * (1 + signature.max_batch_size * width)
        dtype = DTYPES[signature.kinds[0].state[0].dtype]
        shape = (blocks, 2, group.kv_heads, size, group.head_dim)
        return torch.zeros(shape, dtype=dtype, device=self._device)

    def _spread_caches(self, used: int) -> None:
        """Give each launch another stretch of the cache, of the blocks that a step uses."""
        starts = [number * used % (len(self._kv) - used + 1) for number in range(_LAUNCHES)]
        self._state["kv"][:] = [self._kv[start : start + used] for start in starts]
        for number, start in enumerate(starts):
            self._cells.point("kv", self._kv[start].data_ptr(), number)


def _workspace(
    places: Sequence[Place],
    signature: Signature,
    spec: ModelSpec,
    recipe: Recipe,
    device: torch.device,
) -> dict[str, torch.Tensor]:
    """The buffers of any choice: as if every candidate of every place were chosen."""
    every = [Chosen(place, candidate) for place in places for candidate in place.candidates]
    space = buffers(spec, recipe, plan_of(spec, recipe, every))
    launches = LaunchList(kernels=(), buffers=space, steps=(), heads=())
    made = workspace(launches, signature, device)
    for name in _SCALES:
        if name in made:
            made[name].fill_(1.0)
    return made


def _random(program: ProgramSpec, device: torch.device) -> dict[str, torch.Tensor]:
    return {spec.name: _random_weight(spec, device) for spec in program.weights}


def _random_weight(spec: WeightSpec, device: torch.device) -> torch.Tensor:
    dtype = DTYPES[spec.dtype]
    if dtype == torch.float32:
        # A scale; below 0 there are none.
        return torch.ones(spec.shape, device=device)
    return torch.randn(spec.shape, device=device, dtype=torch.bfloat16).to(dtype)


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def _bytes(spec: WeightSpec) -> int:
    return torch.Size(spec.shape).numel() * DTYPES[spec.dtype].itemsize
