"""FlashInfer's libraries for a benchmark: what they need here, and those that are missing made."""

import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nacelle_bench.table import Table
from nacelle_builder.compile.gpu.flashinfer_library import attention_libraries, compile_libraries
from nacelle_engine.arch import Architecture
from nacelle_engine.errors import InvalidRequest
from nacelle_engine.machine import Gpu, first_gpu
from nacelle_engine.ops.gpu.attention_shape import AttentionShape
from nacelle_engine.ops.gpu.capability import fp8_converts
from nacelle_engine.program.attention_library import AttentionLibrary

_INSTALL = "pip install --no-deps --require-hashes -r requirements/gpu-builder.txt"


def require_gpu() -> Architecture:
    """This machine's architecture; InvalidRequest names all that the benchmark misses here."""
    gpu = first_gpu()
    missing = [] if gpu else ["a GPU (no driver, or no device that this process may see)"]
    if find_spec("triton") is None:
        missing.append("the package triton")
    if find_spec("tvm_ffi") is None:
        missing.append(f"the package apache-tvm-ffi ({_INSTALL})")
    if missing or gpu is None:
        raise InvalidRequest(f"the benchmark of attention lacks {', '.join(missing)}")
    return architecture_of(gpu)


def architecture_of(gpu: Gpu) -> Architecture:
    """What is compiled for on this GPU; InvalidRequest for one that is not known."""
    for architecture in Architecture:
        if architecture.compute_capability == gpu.compute_capability:
            return architecture
    known = ", ".join(a.value for a in Architecture if not a.is_cpu)
    raise InvalidRequest(f"{gpu}: engines are compiled for {known} alone")


def shapes_of(
    heads: int, kv_heads: int, head_dim: int, architecture: Architecture
) -> tuple[AttentionShape, ...]:
    """The shape with a cache in bf16, and with one in FP8 where the GPU converts it."""
    types = (False, True) if fp8_converts(architecture) else (False,)
    return tuple(
        AttentionShape(heads, kv_heads, head_dim, fp8=fp8, architecture=architecture)
        for fp8 in types
    )


def made_libraries(shape: AttentionShape, folder: Path) -> tuple[AttentionLibrary, ...]:
    """The libraries of this shape, their files in `folder`/<architecture>; missing ones are made.

    Raises InvalidRequest where FlashInfer has none, CompileFailed when one cannot be compiled.
    """
    libraries = attention_libraries(shape)
    if not libraries:
        raise InvalidRequest(f"head size {shape.head_dim}: FlashInfer has no kernels for it")
    rank = folder / shape.architecture.value
    rank.mkdir(parents=True, exist_ok=True)
    lacking = [library for library in libraries if not (rank / library.file).is_file()]
    compile_libraries(lacking, shape.architecture, rank, _report)
    return libraries


def compile_table(shapes: tuple[AttentionShape, ...], folder: Path) -> Table:
    """Compile what `folder` lacks for these shapes, without a GPU: a row a library."""
    rows: list[dict[str, Any]] = []
    start = time.perf_counter()
    for shape in shapes:
        rank = folder / shape.architecture.value
        for library in made_libraries(shape, folder):
            size = (rank / library.file).stat().st_size
            rows.append({"library": library.name, "KB": size // 1024})
    facts = {"architecture": shapes[0].architecture.value, "seconds": time.perf_counter() - start}
    return Table(facts, rows)


def _report(percent: int, message: str) -> None:
    print(f"{percent:3d} % {message}", file=sys.stderr, flush=True)
