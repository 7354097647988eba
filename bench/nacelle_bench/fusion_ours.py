"""The layers of a bundle's launch list without the head: one by one, or all in a CUDA graph."""

from pathlib import Path

import numpy as np
import torch

from nacelle_bench.fusion_bytes import LaunchBytes
from nacelle_bench.fusion_case import Case
from nacelle_engine.program.cells import Cells
from nacelle_engine.program.driver import Function
from nacelle_engine.program.gpu import current_device
from nacelle_engine.program.graphs import Graphs, captured_sizes
from nacelle_engine.program.launch import StepRange, read_launches
from nacelle_engine.program.planned_attention import Attentions
from nacelle_engine.program.replay import Binder
from nacelle_engine.program.rope_table import rope_tables
from nacelle_engine.program.scopes import load_scopes
from nacelle_engine.program.signature import Signature
from nacelle_engine.program.step import StepInput
from nacelle_engine.program.step_arrays import Arrays, decode_arrays, sizes_of, step_arrays
from nacelle_engine.program.step_buffers import StepBuffers, bytes_needed
from nacelle_engine.program.weights import DTYPES
from nacelle_engine.program.workspace import workspace


class Layers:
    """Weights and launches of every layer; `stream` is the one they are launched on."""

    def __init__(self, rank: Path, signature: Signature) -> None:
        self.signature, self.launches = signature, read_launches(rank)
        self.device = current_device()
        self.stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        self.cells = Cells()
        self.inputs = StepBuffers(bytes_needed(signature), self.device, self.cells)
        scopes = load_scopes(rank, signature, self.device)
        self.embed, self.layers = scopes.embed, scopes.layers
        self.buffers = workspace(self.launches, signature, self.device)
        self.rope = [table.to(self.device) for table in rope_tables(signature)]
        self.kv: list[torch.Tensor] = []
        libraries = (built.library for built in self.launches.libraries)
        self.attentions = Attentions(rank, libraries, signature, self.device)
        self.binder = Binder(
            {facts.name: Function(rank, facts) for facts in self.launches.kernels},
            self.buffers,
            {"rope": self.rope, "kv": self.kv},
            self.cells,
            self.stream.cuda_stream,
            self.attentions,
        )

    def fill_kv(self, blocks: int) -> None:
        """Caches of random values, a layer each; FP8 ones hold them over their scales."""
        (state,) = self.signature.kinds[0].state
        size, dtype = self.signature.tokens_per_block, DTYPES[state.dtype]
        generator = torch.Generator(self.device).manual_seed(0)
        self.kv.clear()
        for number, (_, scope) in enumerate(self.layers):
            group = self.signature.kv_groups[scope.group]
            shape = (blocks, 2, group.kv_heads, size, group.head_dim)
            values = torch.randn(shape, generator=generator, device=self.device)
            if (scales := scope.weights.get("kv_scales")) is not None:
                values /= scales[:, None, None, None]
            self.kv.append(values.clamp(-448, 448).to(dtype))
            self.cells.point("kv", self.kv[-1].data_ptr(), number)


class FusedStep:
    """One step's launches; a decode step is padded to a captured batch, as it is served."""

    def __init__(self, layers: Layers, case: Case, step: StepInput) -> None:
        self._all, self._case, self._step = layers, case, step
        launches, signature = layers.launches, layers.signature
        tokens = case.tokens
        if case.decode:
            sizes = captured_sizes(signature.max_batch_size)
            tokens = min(size for size in sizes if size >= tokens)
        requests = tokens if case.decode else case.requests
        self.range: StepRange = launches.steps[launches.step_index(tokens, case.decode, requests)]
        self.arrays: Arrays = (
            decode_arrays(step, tokens, signature.max_blocks, self.range.query_tile)
            if case.decode
            else step_arrays(step, self.range.query_tile, signature.max_blocks)
        )
        self.sizes = sizes_of(self.arrays)
        self._embed = layers.binder.launches(self.range.embed, layers.embed)
        self._layers = [
            layers.binder.launches(self.range.kinds[kind], scope) for kind, scope in layers.layers
        ]
        self._graphs: Graphs[str] = Graphs(layers.stream)

    def send(self) -> None:
        """Send the inputs, and plan what is planned on the host; on the layers' stream."""
        self._all.inputs.send(self.arrays)
        self._all.cells.set_sizes(self.sizes)
        planned = [one for layer in self._layers for one in layer.planned]
        if planned:
            unique = list(dict.fromkeys(planned))
            self._all.attentions.plan(unique, self.arrays, self._all.inputs)

    def first(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The residual stream [T, H] before and after layer 0."""
        self._embed.run(self.sizes)
        before = self._x.clone()
        self._layers[0].run(self.sizes)
        return before, self._x.clone()

    def run(self) -> None:
        """Launch every layer, launch by launch."""
        for layer in self._layers:
            layer.run(self.sizes)

    def capture(self) -> bool:
        """Capture every layer in one graph; False where a plan of the host keeps it out of one."""
        if self.range.planned:
            return False
        self._graphs.capture("layers", self.run)
        return True

    def replay(self) -> None:
        """Run the captured graph."""
        self._graphs.replay("layers")

    def bytes_of_layer(self) -> int:
        """Bytes that the launches of layer 0 move."""
        kind, scope = self._all.layers[0]
        signature = self._all.signature
        group = signature.kv_groups[scope.group]
        counted = LaunchBytes(
            sizes=self.sizes,
            buffers={buffer.name: buffer for buffer in self._all.launches.buffers},
            weights={name: tensor.nbytes for name, tensor in scope.weights.items()},
            inputs={
                name.partition(".")[0]: np.asarray(a).nbytes for name, a in self.arrays.items()
            },
            cached=self._case.requests * self._case.context,
            kv_token=2 * group.kv_heads * group.head_dim * self._all.kv[0].itemsize,
            rotary=self._all.rope[scope.group].shape[1],
        )
        return sum(counted.of(launch) for launch in self.range.kinds[kind])

    @property
    def _x(self) -> torch.Tensor:
        return self._all.buffers["x"][: self._case.tokens]
