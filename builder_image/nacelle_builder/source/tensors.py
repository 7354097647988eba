"""The tensors of safetensors files: every header checked against its file before any is read.

File: 8 bytes little-endian header length N, N bytes of JSON {name: {dtype, shape, data_offsets}},
then the data; offsets count from the data's start (the safetensors format, version 0.3).
"""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from nacelle_engine.errors import TensorInvalid, TensorMissing, TensorUnexpected

MAX_HEADER_BYTES = 100_000_000
# The types that are read, with their bytes an element.
_WIDTHS = {"F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1}
# What a tensor that is not quantised may be.
PLAIN = ("F32", "BF16", "F16")
FP8 = ("F8_E4M3",)
# E4M3's only value that is no number, without its sign.
_E4M3_NAN = 0x7F


@dataclass(frozen=True)
class TensorEntry:
    """Where one tensor lies: its file, its type as safetensors spells it, its shape."""

    file: Path
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class TensorIndex:
    """Every tensor of a checkpoint by name."""

    entries: dict[str, TensorEntry]

    def require(
        self,
        name: str,
        shape: Sequence[int],
        types: Sequence[str] = PLAIN,
        fields: Sequence[str] = (),
    ) -> TensorEntry:
        """The entry of a tensor that must be there with that shape and one of these types.

        fields: what of config.json asks for the shape, to be named when it is another.
        """
        entry = self.entries.get(name)
        if entry is None:
            raise TensorMissing(f"tensor {name} {list(shape)} is in no safetensors file")
        if entry.shape != tuple(shape):
            asking = f" ({', '.join(fields)})" if fields else ""
            raise TensorInvalid(
                f"{entry.file}: tensor {name} has shape {list(entry.shape)}, "
                f"the config asks for {list(shape)}{asking}"
            )
        if entry.dtype not in types:
            raise TensorInvalid(
                f"{entry.file}: tensor {name} is {entry.dtype}; {', '.join(types)} can be converted"
            )
        return entry


def index_tensors(files: Sequence[Path]) -> TensorIndex:
    """The tensors of all files; TensorInvalid names a file that is cut off or damaged."""
    entries: dict[str, TensorEntry] = {}
    for file in files:
        for name, item in _read_header(file).items():
            if name in entries:
                raise TensorUnexpected(f"tensor {name} is in {entries[name].file} and in {file}")
            entries[name] = TensorEntry(file, item["dtype"], tuple(item["shape"]))
    return TensorIndex(entries)


class TensorReader:
    """Reads single tensors of an index; nothing is held between two reads."""

    def __init__(self, index: TensorIndex, handles: dict[Path, Any]) -> None:
        self._index = index
        self._handles = handles

    def read(self, name: str) -> torch.Tensor:
        """One tensor as it is stored; TensorInvalid when it holds NaN or Inf."""
        file = self._index.entries[name].file
        tensor: torch.Tensor = self._handles[file].get_tensor(name)
        if kind := _not_finite(tensor):
            raise TensorInvalid(f"{file}: tensor {name} holds {kind}")
        return tensor


@contextmanager
def open_tensors(index: TensorIndex) -> Iterator[TensorReader]:
    """A reader over all files of an index, closed at the end."""
    with ExitStack() as stack:
        handles = {
            file: stack.enter_context(_open(file))
            for file in {entry.file for entry in index.entries.values()}
        }
        yield TensorReader(index, handles)


def _not_finite(tensor: torch.Tensor) -> str:
    """ "NaN", "Inf", or nothing when all values are numbers."""
    if tensor.dtype == torch.float8_e4m3fn:
        magnitudes = tensor.view(torch.uint8) & _E4M3_NAN
        return "NaN" if bool((magnitudes == _E4M3_NAN).any()) else ""
    if bool(torch.isfinite(tensor).all()):
        return ""
    return "NaN" if bool(torch.isnan(tensor).any()) else "Inf"


def _open(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except SafetensorError as error:
        raise TensorInvalid(f"{file} has a damaged header: {error}") from error


def _read_header(file: Path) -> dict[str, Any]:
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
            raise TensorInvalid(
                f"{file} is truncated: its header of {length} bytes does not fit its {size} bytes"
            )
        text = stream.read(length)
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        end = max((_checked_end(item) for item in header.values()), default=0)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise TensorInvalid(f"{file} has a damaged header: {error!r}") from error
    if 8 + length + end != size:
        raise TensorInvalid(
            f"{file} is truncated or has bytes left over: its header asks for "
            f"{8 + length + end} bytes, it has {size}"
        )
    return dict(header)


def _checked_end(item: dict[str, Any]) -> int:
    begin, end = item["data_offsets"]
    width, numbers = _WIDTHS.get(item["dtype"]), math.prod(item["shape"])
    if width is not None and end - begin != width * numbers:
        raise ValueError(f"{end - begin} bytes for {item['dtype']} {item['shape']}")
    return int(end)
