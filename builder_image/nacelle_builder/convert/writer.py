"""Writes a safetensors file tensor by tensor: the header first, so one tensor is held at a time."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from nacelle_builder.durable import sync

_NAMES = {
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
}
# safetensors aligns the data so that tensors can be mapped in place.
_ALIGNMENT = 8


@dataclass(frozen=True)
class Slot:
    """One tensor to come: its name, type and shape."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """The size of its data."""
        return math.prod(self.shape) * self.dtype.itemsize


class TensorWriter:
    """A safetensors file in the making; its slots must be filled in their order."""

    def __init__(self, path: Path, slots: Sequence[Slot]) -> None:
        self._path = path
        self._waiting = list(reversed(slots))
        self._file = path.open("wb")
        self._file.write(_header(slots))

    def write(self, name: str, tensor: torch.Tensor) -> None:
        """Fill the next slot, which must be of that name, type and shape."""
        slot = self._waiting.pop()
        if (slot.name, slot.dtype, slot.shape) != (name, tensor.dtype, tuple(tensor.shape)):
            raise AssertionError(f"{name} {tensor.dtype} {tuple(tensor.shape)} is not {slot}")
        self._file.write(tensor.contiguous().view(torch.uint8).numpy().data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            assert not self._waiting, f"{len(self._waiting)} tensors were not written"
            sync(self._file)
        self._file.close()


def _header(slots: Sequence[Slot]) -> bytes:
    items: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for slot in slots:
        items[slot.name] = {
            "dtype": _NAMES[slot.dtype],
            "shape": list(slot.shape),
            "data_offsets": [offset, offset + slot.bytes],
        }
        offset += slot.bytes
    text = json.dumps(items, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text
