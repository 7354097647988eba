"""Lets Triton 3.6's interpreter keep what it works out about types; import it for its effect.

It builds the same few types and shapes anew for every value, which took a third of its time.
"""

import functools
import math

from triton.language import core
from triton.runtime import interpreter

_make_block, _make_tuple = core.block_type.__init__, core.tuple.__init__
_get_field, _get_np_dtype = core.tuple.__getattr__, interpreter._get_np_dtype
_blocks = {}


def _block(self, element, shape):
    key = element.name, *(core._unwrap_if_constexpr(size) for size in shape)
    if key not in _blocks:
        _make_block(self, element, shape)
        _blocks[key] = self.__dict__.copy()
    self.__dict__.update(_blocks[key])


def _tuple(self, values, type=None):
    if type is None:
        self.values = list(values)
    else:
        _make_tuple(self, values, type)


def _field(self, name):
    """A field of a named tuple, or its type, which few ask for."""
    if name == "type":
        self.type = core._type_for_tuple_values(self.values)
        return self.type
    return _get_field(self, name)


def _tensor(self, handle, type):
    self.handle, self.type, self.dtype = handle, type, type.scalar
    self.shape, self.numel = _shape(*type.shape) if type.is_block() else _shape()


@functools.cache
def _shape(*sizes):
    """A tensor's shape and its number of elements, as its attributes."""
    return core.tuple([core.constexpr(size) for size in sizes]), core.constexpr(math.prod(sizes))


@functools.cache
def _scalar_np_dtype(kind):
    return _get_np_dtype(kind)


def _np_dtype(kind):
    scalar = kind.scalar
    return _get_np_dtype(scalar) if scalar.is_ptr() else _scalar_np_dtype(scalar)


core.block_type.__init__, core.tensor.__init__ = _block, _tensor
core.tuple.__init__, core.tuple.__getattr__ = _tuple, _field
interpreter._get_np_dtype = _np_dtype
