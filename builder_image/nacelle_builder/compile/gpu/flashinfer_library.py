"""Compile a model's FlashInfer libraries ahead of time: needs no GPU, leaves nothing for later."""

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from nacelle_builder.compile.gpu.flashinfer_sources import Headers, find_headers, write_sources
from nacelle_builder.compile.gpu.nvcc import Toolkit, compile_library, find_toolkit
from nacelle_engine.arch import Architecture
from nacelle_engine.errors import CompileFailed
from nacelle_engine.ops.gpu.attention_shape import AttentionShape
from nacelle_engine.program.attention_library import (
    ALGORITHMS,
    Algorithm,
    AttentionLibrary,
    KvDtype,
    refusal,
)
from nacelle_engine.program.library_abi import library_abi

Report = Callable[[int, str], None]
_FLASHINFER: Final = "flashinfer-python"
_FFI: Final = "apache-tvm-ffi"


@dataclass(frozen=True)
class Kit:
    """What libraries are compiled with, found once a build."""

    toolkit: Toolkit
    headers: Headers
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def abi(self) -> str:
        """What libraries are linked with, by the name that a runtime compares."""
        cuda = self.toolkit.runtime.name.rpartition(".so.")[2]
        return library_abi(cuda, self.versions.get(_FFI, "unknown"))


def find_kit() -> Kit:
    """The installed compiler and headers; CompileFailed names the package that is missing."""
    toolkit, headers = find_toolkit(), find_headers()
    versions = {name: _version(name) for name in (_FLASHINFER, _FFI)}
    return Kit(toolkit, headers, {**versions, "nvcc": toolkit.version()})


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError as error:
        raise CompileFailed(
            f"{package} is not installed: install the extra nacelle[gpu-builder]"
        ) from error


def attention_libraries(shape: AttentionShape) -> tuple[AttentionLibrary, ...]:
    """The libraries that serve layers of this shape: every algorithm is a tactic.

    Empty where FlashInfer has none (a head size): our own kernels serve there. fa3 exists for
    sm_90 alone.
    """
    kv_dtype: KvDtype = "float8_e4m3fn" if shape.fp8 else "bfloat16"
    return tuple(
        attention_library(shape, algorithm)
        for algorithm in ALGORITHMS
        if (algorithm != "fa3" or shape.architecture == Architecture.SM_90)
        and refusal(algorithm, shape.head_dim, shape.group, kv_dtype, shape.soft_cap > 0) is None
    )


def compile_libraries(
    libraries: Iterable[AttentionLibrary],
    architecture: Architecture,
    out: Path,
    report: Report,
    kit: Kit | None = None,
) -> None:
    """Write each library's file into `out` (a rank's folder).

    `report(percent, message)` is called before each. Raises CompileFailed with nvcc's last lines.
    """
    wanted = tuple(libraries)
    if not wanted:
        return
    found = kit or find_kit()
    for number, library in enumerate(wanted):
        report(100 * number // len(wanted), f"compiling the attention library {library.name}")
        with tempfile.TemporaryDirectory(prefix="nacelle-flashinfer-") as folder:
            unit = write_sources(library, found.headers, Path(folder))
            compile_library(found.toolkit, architecture, unit, out / library.file)
    report(100, "compiled the attention libraries")


def attention_library(shape: AttentionShape, algorithm: Algorithm) -> AttentionLibrary:
    """The library of one algorithm for layers of this shape; it must exist."""
    kv_dtype: KvDtype = "float8_e4m3fn" if shape.fp8 else "bfloat16"
    window, cap = shape.window > 0, shape.soft_cap > 0
    parts = ["attention", algorithm, f"d{shape.head_dim}", f"g{shape.group}"]
    parts += ["fp8"] if shape.fp8 else ["bf16"]
    parts += ["window"] if window else []
    parts += ["cap"] if cap else []
    name = "-".join(parts)
    return AttentionLibrary.model_validate(
        {
            "name": name, "file": f"{name}.so", "algorithm": algorithm,
            "head_dim": shape.head_dim, "group_size": shape.group, "kv_dtype": kv_dtype,
            "sliding_window": window, "soft_cap": cap,
        }
    )  # fmt: skip
