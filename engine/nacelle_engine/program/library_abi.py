"""What prebuilt libraries are linked with: CUDA's runtime and tvm_ffi, as one name.

Nothing here touches a GPU: a bundle is refused before anything of it is opened.
"""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from nacelle_engine.errors import AbiMismatch, CorruptBundle
from nacelle_engine.program.attention_library import BuiltLibrary

_PACKAGE = "apache-tvm-ffi"


def library_abi(cuda: str, tvm_ffi: str) -> str:
    """The name for libraries linked with CUDA's runtime of that version and that tvm_ffi."""
    return f"cudart{cuda.partition('.')[0]}-tvm_ffi{tvm_ffi}"


def abi_here() -> str:
    """The name of what this process can load; AbiMismatch where the package is missing."""
    try:
        installed = version(_PACKAGE)
    except PackageNotFoundError as error:
        raise AbiMismatch(
            f"prebuilt attention needs the package {_PACKAGE}, which this runtime lacks"
        ) from error
    return library_abi(torch.version.cuda or "none", installed)


def check_libraries(rank: Path, libraries: Sequence[BuiltLibrary]) -> None:
    """CorruptBundle names a library's file that is missing, AbiMismatch one of another ABI."""
    for built in libraries:
        file = rank / built.library.file
        if not file.is_file():
            raise CorruptBundle(f"{file} is missing")
        if built.abi != (here := abi_here()):
            raise AbiMismatch(
                f"{file} was linked with {built.abi}, this is {here}: rebuild the engine, or serve "
                "it with the runtime image of its ABI"
            )
