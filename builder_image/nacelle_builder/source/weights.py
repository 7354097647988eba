"""A model's weights as numbers, whether they are stored plain or in FP8 with scales.

Stored FP8: weight[o, i] = e4m3[o, i] * scale, one scale for the tensor, for each output channel o,
or for each block of rows and columns.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from nacelle_builder.source.stored import Granularity, Stored, module_name
from nacelle_builder.source.tensors import FP8, PLAIN, TensorIndex, TensorReader, open_tensors
from nacelle_engine.errors import TensorInvalid, TensorMissing
from nacelle_engine.precision import QuantizationAlgorithm


@dataclass(frozen=True)
class StoredLinear:
    """A linear as a ready-made checkpoint holds it: weight E4M3 [out, in], scale float32 [out].

    `scale` [out] repeats the one number of a weight that is stored per tensor.
    """

    weight: torch.Tensor
    scale: torch.Tensor


class SourceWeights:
    """Reads single weights of a source; nothing is held between two reads."""

    def __init__(self, index: TensorIndex, reader: TensorReader, stored: Stored | None) -> None:
        self._index = index
        self._reader = reader
        self._stored = stored

    def read(self, name: str) -> torch.Tensor:
        """The numbers that a tensor stands for: as stored, or float32 where it is FP8."""
        if self._stored is None or self._index.entries[name].dtype not in FP8:
            return self._reader.read(name)
        if self._stored.weights == Granularity.BLOCK:
            scale = self._scale(name, self._stored)
            rows, columns = self._stored.block
            weight = self._reader.read(name).to(torch.float32)
            spread = scale.repeat_interleave(rows, 0).repeat_interleave(columns, 1)
            return weight * spread[: weight.shape[0], : weight.shape[1]]
        linear = self.linear(name)
        return linear.weight.to(torch.float32) * linear.scale[:, None]

    def linear(self, name: str) -> StoredLinear:
        """A linear stored per tensor or per channel, as it is."""
        assert self._stored is not None, f"{name} is stored plain"
        weight = self._reader.read(name)
        scale = self._scale(name, self._stored).reshape(-1).expand(weight.shape[0])
        return StoredLinear(weight, scale)

    def tensor_scale(self, name: str) -> torch.Tensor:
        """The one scale, float32 [1], of a linear stored per tensor."""
        assert self._stored is not None, f"{name} is stored plain"
        return self._scale(name, self._stored).reshape(1)

    def kept(self, names: Sequence[str], algorithm: QuantizationAlgorithm) -> bool:
        """Whether joining these linears changes none of their numbers: always per channel, and
        with one scale for all only where all have the same."""
        if self._stored is None or not self._stored.taken_as_is:
            return False
        if algorithm != QuantizationAlgorithm.FP8:
            return True
        return len({float(self._scale(name, self._stored)) for name in names}) == 1

    def input_scale(self, name: str) -> float:
        """The static scale of a linear's input."""
        assert self._stored is not None, f"{name} has no input scale"
        return self.scalar(input_scale_name(self._index, self._stored, name))

    def scalar(self, name: str) -> float:
        """A tensor of one number that must be a scale: above 0."""
        return float(self._positive(name))

    def _scale(self, name: str, stored: Stored) -> torch.Tensor:
        scale = self._positive(weight_scale_name(stored, name))
        if stored.weights == Granularity.BLOCK:
            # modelopt keeps two more dimensions of 1.
            return scale.reshape(scale.shape[0], -1)
        return scale

    def _positive(self, name: str) -> torch.Tensor:
        scale = self._reader.read(name).to(torch.float32)
        if not bool((scale > 0).all()):
            raise TensorInvalid(
                f"{self._index.entries[name].file}: tensor {name} holds the scale "
                f"{float(scale.min()):g}; scales must be above 0"
            )
        return scale


@contextmanager
def open_weights(index: TensorIndex, stored: Stored | None) -> Iterator[SourceWeights]:
    """A reader over all weights of a source, closed at the end."""
    with open_tensors(index) as reader:
        yield SourceWeights(index, reader, stored)


def weight_scale_name(stored: Stored, name: str) -> str:
    """The tensor that holds a weight's scales."""
    return f"{module_name(name)}.{stored.weight_scale}"


def input_scale_name(index: TensorIndex, stored: Stored, name: str) -> str:
    """The tensor that holds the scale of a linear's input; TensorMissing names the usual one."""
    names = [f"{module_name(name)}.{scale}" for scale in stored.input_scales]
    for candidate in names:
        if candidate in index.entries:
            return candidate
    raise TensorMissing(
        f"tensor {names[0]} is in no safetensors file, and {stored.origin} says that inputs have "
        "static scales"
    )


def require_linear(
    index: TensorIndex, stored: Stored, name: str, shape: tuple[int, ...], fields: Sequence[str]
) -> tuple[str, ...]:
    """Check a linear's weight and scales, by name and shape; the names of all its tensors.

    fields: what of config.json asks for the shape.
    """
    if stored.excludes(module_name(name)):
        raise TensorInvalid(
            f"{stored.origin} leaves {module_name(name)} unquantised: engines of which some "
            "linears are quantised are not built; give the unquantised model"
        )
    entry = index.entries.get(name)
    if entry is not None and entry.shape == shape and entry.dtype not in FP8:
        raise TensorInvalid(
            f"{entry.file}: tensor {name} is {entry.dtype}, while {stored.origin} says that it is "
            "F8_E4M3"
        )
    index.require(name, shape, FP8, fields)
    scale = weight_scale_name(stored, name)
    _require_shape(index, scale, _scale_shapes(stored, shape), stored)
    if not stored.static_inputs:
        return name, scale
    inputs = input_scale_name(index, stored, name)
    _require_shape(index, inputs, ((), (1,)), stored)
    return name, scale, inputs


def _scale_shapes(stored: Stored, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """The shapes that a weight's scales may have; [rows, columns] of `shape`."""
    if stored.weights == Granularity.TENSOR:
        return (), (1,)
    if stored.weights == Granularity.CHANNEL:
        return (shape[0],), (shape[0], 1)
    rows, columns = (-(-size // block) for size, block in zip(shape, stored.block, strict=True))
    return (rows, columns), (rows, 1, columns, 1)


def _require_shape(
    index: TensorIndex, name: str, shapes: tuple[tuple[int, ...], ...], stored: Stored
) -> None:
    entry = index.entries.get(name)
    if entry is None:
        raise TensorMissing(f"tensor {name} is in no safetensors file; {stored.origin} asks for it")
    if entry.shape not in shapes:
        allowed = " or ".join(str(list(shape)) for shape in shapes)
        raise TensorInvalid(
            f"{entry.file}: tensor {name} has shape {list(entry.shape)}, while {stored} asks for "
            f"{allowed}"
        )
    index.require(name, entry.shape, PLAIN)
