"""A rank's weights as the programs take them.

A quantised `<name>.weight` is float8_e4m3fn [out, in] with `<name>.per_channel_scale` float32
[out] beside it, weight[n, k] = fp8[n, k] * scale[n], or with one scale for all n. A CPU's programs
take it dequantised, in the compute type; a GPU's take both as they are stored.
"""

import ctypes
from abc import ABC, abstractmethod
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from nacelle_engine.errors import CorruptBundle
from nacelle_engine.ops.dequantise import dequantise
from nacelle_engine.program.signature import Join, Signature, WeightSpec

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float8_e4m3fn": torch.float8_e4m3fn,
    "int64": torch.int64,
    "int32": torch.int32,
}
_SCALE = ".per_channel_scale"
# For readers that know TensorRT-LLM's one factor only: programs take one for keys, one for values.
_PASSED_OVER = ".kv_cache_scaling_factor"


class Weights(ABC):
    """The tensors of weights.safetensors, each read when a program first asks for it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = safe_open(path, framework="pt")
        except (OSError, SafetensorError) as error:
            raise CorruptBundle(f"{path} cannot be read: {error}") from error
        self._unused = set(self._file.keys())  # type: ignore[no-untyped-call]
        self._made: dict[tuple[tuple[str, ...], str, Join], torch.Tensor] = {}

    def get(self, spec: WeightSpec, layer: int = 0, *, last: bool = False) -> torch.Tensor:
        """One program input; the same sources give the same tensor (a tied lm_head)."""
        sources = spec.names(layer, last=last)
        key = (sources, spec.dtype, spec.join)
        if key not in self._made:
            parts = [self._read(name, DTYPES[spec.dtype]) for name in sources]
            self._made[key] = self._join(self._arranged(parts, sources, spec))
        made = self._made[key]
        if tuple(made.shape) != spec.shape:
            raise CorruptBundle(
                f"{self._path}: {' + '.join(sources)} has shape {list(made.shape)}, "
                f"the program takes {list(spec.shape)}"
            )
        return made

    def finish(self) -> None:
        """Refuse tensors that no program asked for."""
        left = [name for name in self._unused if not name.endswith(_PASSED_OVER)]
        if left:
            raise CorruptBundle(f"{self._path}: no program takes {min(left)}")

    def _arranged(
        self, parts: list[torch.Tensor], sources: tuple[str, ...], spec: WeightSpec
    ) -> list[torch.Tensor]:
        """The parts as they are to lie one below the other."""
        if spec.join == "rows":
            return parts
        for name, part in zip(sources, parts, strict=True):
            if tuple(part.shape) != (1,):
                raise CorruptBundle(
                    f"{self._path}: {name} has shape {list(part.shape)}, the program takes "
                    "one number"
                )
        if spec.join == "repeated":
            return [part.expand(spec.shape[0] // len(parts)) for part in parts]
        if any(not torch.equal(part, parts[0]) for part in parts):
            raise CorruptBundle(f"{self._path}: {' and '.join(sources)} must be the same number")
        return parts[:1]

    @abstractmethod
    def _read(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        """One tensor of the file as a program takes it."""

    @abstractmethod
    def _join(self, parts: list[torch.Tensor]) -> torch.Tensor:
        """One contiguous tensor of all parts' rows, where the program wants it."""

    def _tensor(self, name: str) -> torch.Tensor:
        try:
            tensor: torch.Tensor = self._file.get_tensor(name)  # type: ignore[no-untyped-call]
        except SafetensorError as error:
            raise CorruptBundle(f"{self._path}: {name} is missing") from error
        self._unused.discard(name)
        return tensor


class Dequantised(Weights):
    """Weights in the compute type, for a CPU's programs."""

    def __init__(self, path: Path, kernels: ctypes.CDLL) -> None:
        super().__init__(path)
        self._kernels = kernels

    def _read(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        weight = self._tensor(name)
        scale_name = name.removesuffix(".weight") + _SCALE
        if weight.dtype == torch.float8_e4m3fn:
            return dequantise(self._kernels, weight, self._tensor(scale_name), dtype)
        return weight.to(dtype, copy=True)

    def _join(self, parts: list[torch.Tensor]) -> torch.Tensor:
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).contiguous()


class Stored(Weights):
    """Weights as the file has them, on a device; a type that the program does not take is refused.

    One part at a time is in host memory.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        super().__init__(path)
        self._device = device

    def _read(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        tensor = self._tensor(name)
        if tensor.dtype != dtype:
            raise CorruptBundle(
                f"{self._path}: {name} is {tensor.dtype}, the program takes {dtype}"
            )
        return tensor.contiguous()

    def _join(self, parts: list[torch.Tensor]) -> torch.Tensor:
        rows = sum(part.shape[0] for part in parts)
        # float8 has no copy of its own everywhere; its bytes have.
        joined = torch.empty(rows, *parts[0].shape[1:], dtype=parts[0].dtype, device=self._device)
        start = 0
        for part in parts:
            end = start + part.shape[0]
            _bytes(joined[start:end]).copy_(_bytes(part))
            start = end
        return joined


def layer_weights(weights: Weights, signature: Signature) -> list[list[torch.Tensor]]:
    """The weights of each layer in its program's order."""
    kinds = {kind.name: kind for kind in signature.kinds}
    return [
        [weights.get(spec, number) for spec in kinds[layer.program].weights]
        for number, layer in enumerate(signature.layers)
    ]


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(torch.uint8) if tensor.itemsize == 1 else tensor
