"""A CPU bundle's compiled libraries, opened and ready to run."""

import ctypes
import time
from pathlib import Path
from typing import Any

import torch

from nacelle_engine.errors import CorruptBundle
from nacelle_engine.ops.kernels import bfloat16_kernel, load_kernels
from nacelle_engine.precision import ComputeType
from nacelle_engine.program.check import check_step
from nacelle_engine.program.load_times import LoadTimes
from nacelle_engine.program.memory import kv_bytes_per_token
from nacelle_engine.program.rope_table import rope_tables
from nacelle_engine.program.signature import KERNELS, WEIGHTS, ProgramSpec, Signature
from nacelle_engine.program.step import StepInput
from nacelle_engine.program.weights import DTYPES, Dequantised, layer_weights


class CpuProgram:
    """A `Program` of AOTInductor's libraries, one for each kind of layer."""

    device = torch.device("cpu")

    def __init__(self, rank: Path, signature: Signature) -> None:
        self.signature = signature
        self._dtype = DTYPES[signature.compute_type]
        self._kernels = _kernels(rank)
        self._embed = _open(rank, signature.embed)
        self._head = _open(rank, signature.head)
        kinds = {kind.name: _open(rank, kind) for kind in signature.kinds}
        self._layers = [(kinds[layer.program], layer.group) for layer in signature.layers]
        began = time.perf_counter()
        weights = Dequantised(rank / WEIGHTS, self._kernels)
        self._embed_inputs = [weights.get(spec) for spec in signature.embed.weights]
        self._embed_inputs += rope_tables(signature)
        self._head_inputs = [weights.get(spec) for spec in signature.head.weights]
        self._layer_inputs = layer_weights(weights, signature)
        weights.finish()
        self._weight_seconds = time.perf_counter() - began
        self._kv: list[torch.Tensor] = []

    @property
    def matrix_kernel(self) -> str:
        """What its own products run on in this process: "amx-bf16" or "fma"."""
        if self.signature.compute_type == ComputeType.BFLOAT16:
            return bfloat16_kernel(self._kernels)
        return "fma"

    @property
    def kv_bytes_per_block(self) -> int:
        """Bytes that one block takes in all layers together (keys and values)."""
        return kv_bytes_per_token(self.signature) * self.signature.tokens_per_block

    @property
    def weight_bytes_per_token(self) -> int:
        """Bytes of weights that a step of one token reads: layers and head, one embedding row."""
        used = [tensor for layer in self._layer_inputs for tensor in layer] + self._head_inputs
        return sum(tensor.nbytes for tensor in used)

    @property
    def load_times(self) -> LoadTimes:
        """What loading took: bytes as the programs take them, dequantised."""
        tensors = [*self._embed_inputs, *self._head_inputs]
        tensors += [tensor for layer in self._layer_inputs for tensor in layer]
        held = sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values())
        return LoadTimes(weight_bytes=held, weight_seconds=self._weight_seconds)

    def allocate_kv(self, blocks: int) -> None:
        """Make the KV cache, in the compute type."""
        size = self.signature.tokens_per_block
        groups = [self.signature.kv_groups[group] for _, group in self._layers]
        self._kv = [
            torch.zeros(blocks, 2, group.kv_heads, size, group.head_dim, dtype=self._dtype)
            for group in groups
        ]

    @torch.inference_mode()
    def run(self, step: StepInput) -> torch.Tensor:
        """One step; the logits are the caller's to keep."""
        check_step(step, self.signature, self._kv[0].shape[0] if self._kv else 0)
        hidden, residual, *cos_sins = self._embed.run(
            [step.token_ids, step.positions, *self._embed_inputs]
        )
        ragged = [
            [cos_sin, step.slots, step.q_start, table, step.seq_lens]
            for cos_sin, table in zip(cos_sins, step.block_tables, strict=True)
        ]
        for (layer, group), inputs, kv in zip(
            self._layers, self._layer_inputs, self._kv, strict=True
        ):
            hidden, residual = layer.run([hidden, residual, *ragged[group], *inputs, kv])
        logits: torch.Tensor = self._head.run(
            [hidden, residual, step.logits_rows, *self._head_inputs]
        )[0]
        return logits


def _kernels(rank: Path) -> ctypes.CDLL:
    try:
        return load_kernels(rank / KERNELS)
    except OSError as error:
        raise CorruptBundle(f"{rank / KERNELS} cannot be opened: {error}") from error


def _open(rank: Path, spec: ProgramSpec) -> Any:
    path = rank / spec.file
    if not path.is_file():
        raise CorruptBundle(f"{path} is missing")
    try:
        return torch._C._aoti.AOTIModelContainerRunnerCpu(str(path), 1)
    except RuntimeError as error:
        raise CorruptBundle(f"{path} cannot be opened: {error}") from error
