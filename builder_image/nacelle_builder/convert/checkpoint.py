"""A TensorRT-LLM-format checkpoint on disk: config.json and rank0.safetensors."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from nacelle_builder.convert.quantize import dequantize
from nacelle_engine.model.checkpoint import CheckpointTensor
from nacelle_engine.model.scales import PER_CHANNEL, PER_TENSOR, linear_scale

CONFIG = "config.json"
RANK0 = "rank0.safetensors"


@dataclass(frozen=True)
class CheckpointReader:
    """Reads a checkpoint's tensors one by one, dequantised."""

    handle: Any

    def read(self, tensor: CheckpointTensor) -> torch.Tensor:
        """The float32 values that a tensor stands for, its scale applied where it has one."""
        stored: torch.Tensor = self.handle.get_tensor(tensor.name)
        if stored.dtype != torch.float8_e4m3fn:
            return stored.to(torch.float32)
        return dequantize(stored, self.weight_scale(tensor))

    def weight_scale(self, tensor: CheckpointTensor) -> torch.Tensor:
        """The scale of a quantised linear's weight: float32 [out] per channel, [1] per tensor."""
        per_tensor = linear_scale(tensor.name, PER_TENSOR)
        name = per_tensor if per_tensor in self._names() else linear_scale(tensor.name, PER_CHANNEL)
        scale: torch.Tensor = self.handle.get_tensor(name)
        return scale

    def scalar(self, name: str) -> float:
        """A static scale by its name."""
        return float(self.handle.get_tensor(name))

    def _names(self) -> set[str]:
        return set(self.handle.keys())


@contextmanager
def open_checkpoint(file: Path) -> Iterator[CheckpointReader]:
    """A reader over one rank's safetensors file."""
    with safe_open(file, framework="pt") as handle:
        yield CheckpointReader(handle)
