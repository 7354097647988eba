"""A GPU bundle's launch list, opened and ready to run."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from nacelle_engine.program.beside import answers_apart, split
from nacelle_engine.program.bound_list import BoundList
from nacelle_engine.program.cells import Cells
from nacelle_engine.program.check import check_step
from nacelle_engine.program.graphs import Graphs, captured_sizes
from nacelle_engine.program.launch import LaunchList, read_launches
from nacelle_engine.program.library_abi import check_libraries
from nacelle_engine.program.load_times import LoadTimes
from nacelle_engine.program.memory import kv_bytes_per_token
from nacelle_engine.program.mixed_sizes import MixedSize, fitting, sizes_for
from nacelle_engine.program.plans import open_plans
from nacelle_engine.program.scopes import load_scopes
from nacelle_engine.program.signature import Signature
from nacelle_engine.program.step import StepInput
from nacelle_engine.program.step_arrays import (
    Arrays,
    decode_arrays,
    empty_step,
    is_decode,
    mixed_arrays,
    sizes_of,
    step_arrays,
)
from nacelle_engine.program.step_buffers import StepBuffers, bytes_needed
from nacelle_engine.program.weights import DTYPES


class GpuProgram:
    """A `Program` that replays launches; decode and small mixed steps as CUDA graphs.

    Everything runs on a stream of its own, which waits for the caller's and is waited for.
    """

    def __init__(self, rank: Path, signature: Signature) -> None:
        self.signature = signature
        self._launches = read_launches(rank)
        check_libraries(rank, self._launches.libraries)
        # Another TensorRT is refused here, before the GPU is touched.
        plans = open_plans(rank, self._launches.plans)
        self.device = current_device()
        self._stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        self._cells = Cells()
        # Two: the second half of a step is sent while the first one waits its turn.
        self._inputs, self._others = (
            StepBuffers(bytes_needed(signature), self.device, self._cells) for _ in range(2)
        )
        requests = signature.max_batch_size
        self._decode_sizes = captured_sizes(requests)
        self._mixed_sizes = sizes_for(self._launches, signature.max_num_tokens, requests)
        self._decode: Graphs[int] = Graphs(self._stream)
        self._mixed: Graphs[MixedSize] = Graphs(self._stream)
        began = time.perf_counter()
        self._scopes = load_scopes(rank, signature, self.device)
        self._weight_seconds = time.perf_counter() - began
        self._capture_seconds = 0.0
        self._kv: list[torch.Tensor] = []
        self._bound = BoundList(
            *(rank, self._launches, signature, self._scopes, self._kv),
            *(self._cells, self._stream, self.device, plans),
        )

    @property
    def kv_bytes_per_block(self) -> int:
        """Bytes that one block takes in all layers together (keys and values)."""
        return kv_bytes_per_token(self.signature) * self.signature.tokens_per_block

    @property
    def weight_bytes_per_token(self) -> int:
        """Bytes of weights that a step of one token reads: layers and head, one embedding row."""
        return self._scopes.bytes_per_token

    @property
    def load_times(self) -> LoadTimes:
        """What loading took, and capturing once there was a cache."""
        return LoadTimes(
            weight_bytes=self._scopes.weight_bytes,
            weight_seconds=self._weight_seconds,
            graphs=len(self._decode) + len(self._mixed),
            capture_seconds=self._capture_seconds,
        )

    @property
    def launches(self) -> LaunchList:
        """What steps consist of."""
        return self._launches

    def allocate_kv(self, blocks: int) -> None:
        """Make the KV cache, and capture decode and small mixed steps over it."""
        if self._kv and self._kv[0].shape[0] == blocks:
            for cache in self._kv:
                cache.zero_()
            return
        size = self.signature.tokens_per_block
        self._kv.clear()
        for number, (_, scope) in enumerate(self._scopes.layers):
            group = self.signature.kv_groups[scope.group]
            shape = (blocks, 2, group.kv_heads, size, group.head_dim)
            self._kv.append(torch.zeros(shape, dtype=self._kv_dtype, device=self.device))
            self._cells.point("kv", self._kv[-1].data_ptr(), number)
        self._stream.wait_stream(torch.cuda.current_stream(self.device))
        began = time.perf_counter()
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            self._capture()
        self._capture_seconds = time.perf_counter() - began

    def run(self, step: StepInput) -> torch.Tensor:
        """One step; the logits hold until the next one."""
        return self._between_streams(step, self._run)

    def run_launches(self, step: StepInput) -> torch.Tensor:
        """The same step launch by launch, as those are run that no graph holds."""
        logits = self._logits_of(len(step.logits_rows))

        def run(step: StepInput) -> torch.Tensor:
            self._run_launches(step, self._inputs, logits)
            return logits

        return self._between_streams(step, run)

    @torch.inference_mode()
    def _between_streams(
        self, step: StepInput, run: Callable[[StepInput], torch.Tensor]
    ) -> torch.Tensor:
        check_step(step, self.signature, self._kv[0].shape[0] if self._kv else 0)
        caller = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(caller)
        with torch.cuda.stream(self._stream):
            logits = run(step)
        caller.wait_stream(self._stream)
        return logits

    def _run(self, step: StepInput) -> torch.Tensor:
        rows = len(step.logits_rows)
        count = answers_apart(step, self._launches, self.signature.vocab_size)
        if not count or rows > len(self._bound.room):
            return self._run_one(step)
        answers, prompts = split(step, count)
        self._run_one(answers)
        self._run_launches(prompts, self._others, self._bound.room[count:rows])
        return self._bound.room[:rows]

    def _run_one(self, step: StepInput) -> torch.Tensor:
        tokens, rows = len(step.token_ids), len(step.logits_rows)
        decode = is_decode(step)
        if decode and rows <= (size := self._decode_size(tokens)):
            self._send(step, self._decode_arrays(step, size), self._inputs)
            self._decode.replay(size)
            return self._bound.room[:rows]
        logits = self._logits_of(rows)
        if not decode and (mixed := fitting(self._mixed_sizes, tokens, len(step.seq_lens))):
            arrays = self._mixed_arrays(step, mixed)
            self._send(step, arrays, self._inputs)
            self._mixed.replay(mixed)
            self._bound.run_head(sizes_of(arrays), logits)
            return logits
        self._run_launches(step, self._inputs, logits)
        return logits

    def _run_launches(self, step: StepInput, inputs: StepBuffers, logits: torch.Tensor) -> None:
        index = self._launches.step_index(len(step.token_ids), is_decode(step), len(step.seq_lens))
        query_tile = self._launches.steps[index].query_tile
        arrays = step_arrays(step, query_tile, self.signature.max_blocks)
        self._send(step, arrays, inputs)
        self._bound.plan(index, arrays, inputs)
        self._bound.run(index, sizes_of(arrays), logits)

    def _logits_of(self, rows: int) -> torch.Tensor:
        """Where so many rows go; only scores of prompts are more than a row a request."""
        if rows <= len(self._bound.room):
            return self._bound.room[:rows]
        return torch.empty(rows, self.signature.vocab_size, device=self.device)

    def _decode_size(self, requests: int) -> int:
        """The smallest captured batch that holds so many requests."""
        return min(size for size in self._decode_sizes if size >= requests)

    def _decode_arrays(self, step: StepInput, size: int) -> Arrays:
        """The arrays of a step that the graph of `size` requests runs."""
        chosen = self._launches.steps[self._launches.step_index(size, decode=True)]
        return decode_arrays(step, size, self.signature.max_blocks, chosen.query_tile)

    def _mixed_arrays(self, step: StepInput, size: MixedSize) -> Arrays:
        """The arrays of a step that the graph of that size runs."""
        chosen = self._launches.steps[self._launches.step_index(size.tokens, decode=False)]
        return mixed_arrays(step, size, self.signature.max_blocks, chosen.query_tile)

    def _send(self, step: StepInput, arrays: Arrays, inputs: StepBuffers) -> None:
        inputs.send(arrays)
        if step.token_ids.device == self.device:
            inputs.take_tokens(step.token_ids)

    def _capture(self) -> None:
        """Capture every size, the largest first: smaller ones then fit into its memory."""
        empty = empty_step(len(self.signature.kv_groups))
        self._decode.clear()
        self._mixed.clear()
        for size in reversed(self._decode_sizes):
            arrays = self._decode_arrays(empty, size)
            index = self._launches.step_index(size, decode=True)
            self._inputs.send(arrays)
            launch = partial(self._bound.run, index, sizes_of(arrays), self._bound.room)
            self._decode.capture(size, launch)
        for mixed in reversed(self._mixed_sizes):
            arrays = self._mixed_arrays(empty, mixed)
            index = self._launches.step_index(mixed.tokens, decode=False)
            self._inputs.send(arrays)
            launch = partial(self._bound.run, index, sizes_of(arrays), self._bound.room)
            self._mixed.capture(mixed, launch)

    @property
    def _kv_dtype(self) -> torch.dtype:
        (kv,) = self.signature.kinds[0].state
        return DTYPES[kv.dtype]


def current_device() -> torch.device:
    """The GPU that this process computes on."""
    return torch.device("cuda", torch.cuda.current_device())
