"""The kernels' one library: its sources, which the builder compiles, and its loading."""

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# Importing an op's module registers its schema, which the library's kernels then implement.
from nacelle_engine.ops import attention, linear, norm, norm_gate_up, norm_linear, norm_logits

OPS: Final = (attention, linear, norm, norm_gate_up, norm_linear, norm_logits)
FOLDER: Final = Path(__file__).parent
_eager: list[Path] = []


def sources() -> tuple[Path, ...]:
    """The C++ sources of the library; their headers lie beside them."""
    return tuple(sorted(FOLDER.glob("*.cpp")))


def headers() -> tuple[Path, ...]:
    """The headers that the sources share."""
    return tuple(sorted(FOLDER.glob("*.h")))


def load_kernels(library: Path) -> ctypes.CDLL:
    """Load a compiled library, so that programs linked to its name find it; torch comes first."""
    return ctypes.CDLL(str(library.resolve()))


def bfloat16_kernel(kernels: ctypes.CDLL) -> str:
    """What bfloat16 products run on in this process: "amx-bf16" (tiles) or "fma"."""
    name = kernels.nacelle_bfloat16_kernel
    name.restype = ctypes.c_char_p
    found: bytes = name()
    return found.decode()


@contextlib.contextmanager
def eager_kernels(library: Path) -> Iterator[None]:
    """Let eager calls of torch.ops.nacelle use this library's kernels; one library at a time."""
    if _eager:
        raise RuntimeError(f"eager calls already use {_eager[0]}")
    kernels = load_kernels(library)
    kernels.nacelle_register()
    _eager.append(library)
    try:
        yield
    finally:
        _eager.clear()
        kernels.nacelle_unregister()
