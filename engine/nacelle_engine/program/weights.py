"""A rank's weights as the programs take them: joined, dequantised, in the compute type.

A quantised `<name>.weight` is float8_e4m3fn [out, in] with `<name>.per_channel_scale` float32
[out] beside it: weight[n, k] = fp8[n, k] * scale[n].
"""

import ctypes
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from nacelle_engine.errors import CorruptBundle
from nacelle_engine.ops.dequantise import dequantise
from nacelle_engine.program.signature import Signature, WeightSpec

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "int64": torch.int64,
    "int32": torch.int32,
}
_SCALE = ".per_channel_scale"


class Weights:
    """The tensors of weights.safetensors, each read when a program first asks for it."""

    def __init__(self, path: Path, kernels: ctypes.CDLL) -> None:
        self._path, self._kernels = path, kernels
        try:
            self._file = safe_open(path, framework="pt")
        except (OSError, SafetensorError) as error:
            raise CorruptBundle(f"{path} cannot be read: {error}") from error
        self._unused = set(self._file.keys())  # type: ignore[no-untyped-call]
        self._made: dict[tuple[tuple[str, ...], str], torch.Tensor] = {}

    def get(self, spec: WeightSpec, layer: int = 0) -> torch.Tensor:
        """One program input; the same sources give the same tensor (a tied lm_head)."""
        sources = tuple(source.format(layer=layer) for source in spec.sources)
        key = (sources, spec.dtype)
        if key not in self._made:
            parts = [self._read(source, DTYPES[spec.dtype]) for source in sources]
            made = parts[0] if len(parts) == 1 else torch.cat(parts)
            self._made[key] = made.contiguous()
        made = self._made[key]
        if tuple(made.shape) != spec.shape:
            raise CorruptBundle(
                f"{self._path}: {' + '.join(sources)} has shape {list(made.shape)}, "
                f"the program takes {list(spec.shape)}"
            )
        return made

    def finish(self) -> None:
        """Refuse tensors that no program asked for."""
        if self._unused:
            raise CorruptBundle(f"{self._path}: no program takes {sorted(self._unused)[0]}")

    def _read(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        weight = self._tensor(name)
        scale_name = name.removesuffix(".weight") + _SCALE
        if weight.dtype == torch.float8_e4m3fn:
            return dequantise(self._kernels, weight, self._tensor(scale_name), dtype)
        return weight.to(dtype, copy=True)

    def _tensor(self, name: str) -> torch.Tensor:
        try:
            tensor: torch.Tensor = self._file.get_tensor(name)  # type: ignore[no-untyped-call]
        except SafetensorError as error:
            raise CorruptBundle(f"{self._path}: {name} is missing") from error
        self._unused.discard(name)
        return tensor


def layer_weights(weights: Weights, signature: Signature) -> list[list[torch.Tensor]]:
    """The weights of each layer in its program's order."""
    kinds = {kind.name: kind for kind in signature.kinds}
    return [
        [weights.get(spec, number) for spec in kinds[layer.program].weights]
        for number, layer in enumerate(signature.layers)
    ]
