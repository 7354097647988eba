"""Values of kernels' arguments, each at a fixed address that launches point to."""

import ctypes
from typing import get_args

import torch

from nacelle_engine.program.launch import Symbol


class Cells:
    """One cell a size, a named pointer, or a fixed tensor: set here, seen by every launch."""

    def __init__(self) -> None:
        self._sizes = {symbol: ctypes.c_int32() for symbol in get_args(Symbol)}
        self._named: dict[tuple[str, int], ctypes.c_void_p] = {}
        self._fixed: dict[int, ctypes.c_void_p] = {}

    def size(self, symbol: Symbol) -> int:
        """The address of a size's value, an int32."""
        return ctypes.addressof(self._sizes[symbol])

    def set_sizes(self, sizes: dict[Symbol, int]) -> None:
        """The sizes of the step to come."""
        for symbol, value in sizes.items():
            self._sizes[symbol].value = value

    def named(self, name: str, index: int = 0) -> int:
        """The address of a pointer that changes: a step's input, a layer's cache, the logits."""
        return ctypes.addressof(self._named.setdefault((name, index), ctypes.c_void_p()))

    def point(self, name: str, address: int, index: int = 0) -> None:
        """Let a named pointer point there."""
        self._named.setdefault((name, index), ctypes.c_void_p()).value = address

    def address(self, name: str, index: int = 0) -> int:
        """Where a named pointer points to."""
        return self._named[name, index].value or 0

    def fixed(self, tensor: torch.Tensor) -> int:
        """The address of a pointer to a tensor that stays where it is."""
        pointer = tensor.data_ptr()
        return ctypes.addressof(self._fixed.setdefault(pointer, ctypes.c_void_p(pointer)))
