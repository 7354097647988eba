"""Compile a model's FlashInfer libraries ahead of time: needs no GPU, leaves nothing for later."""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from nacelle_builder.compile.gpu.flashinfer_sources import Headers, find_headers, write_sources
from nacelle_builder.compile.gpu.nvcc import Toolkit, compile_library, find_toolkit
from nacelle_engine.arch import Architecture
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.precision import Fp8OrNone
from nacelle_engine.program.attention_library import (
    ALGORITHMS,
    Algorithm,
    AttentionLibrary,
    KvDtype,
    refusal,
)
from nacelle_engine.recipe import Recipe

Report = Callable[[int, str], None]


@dataclass(frozen=True)
class Variant:
    """What differs between layers at compile time; one library of each algorithm for each."""

    sliding_window: bool = False
    soft_cap: bool = False


@dataclass(frozen=True)
class Kit:
    """What libraries are compiled with, found once a build."""

    toolkit: Toolkit
    headers: Headers


def find_kit() -> Kit:
    """The installed compiler and headers; CompileFailed names the package that is missing."""
    return Kit(find_toolkit(), find_headers())


def attention_libraries(
    spec: ModelSpec, recipe: Recipe, variants: Iterable[Variant] = (Variant(),)
) -> tuple[AttentionLibrary, ...]:
    """The libraries that serve this model on this architecture: every algorithm is a tactic.

    Empty where FlashInfer has none (a head size, a CPU): our own kernels serve there. fa3 exists
    for sm_90 alone.
    """
    if recipe.architecture.is_cpu:
        return ()
    group = spec.num_heads // spec.num_kv_heads
    fp8 = recipe.quantization.kv_cache == Fp8OrNone.FP8
    kv_dtype: KvDtype = "float8_e4m3fn" if fp8 else "bfloat16"
    return tuple(
        _library(algorithm, spec.head_dim, group, kv_dtype, variant)
        for variant in dict.fromkeys(variants)
        for algorithm in ALGORITHMS
        if (algorithm != "fa3" or recipe.architecture == Architecture.SM_90)
        and refusal(algorithm, spec.head_dim, group, kv_dtype, variant.soft_cap) is None
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


def _library(
    algorithm: Algorithm, head_dim: int, group: int, kv_dtype: KvDtype, variant: Variant
) -> AttentionLibrary:
    parts = ["attention", algorithm, f"d{head_dim}", f"g{group}"]
    parts += ["fp8"] if kv_dtype == "float8_e4m3fn" else ["bf16"]
    parts += ["window"] if variant.sliding_window else []
    parts += ["cap"] if variant.soft_cap else []
    name = "-".join(parts)
    return AttentionLibrary.model_validate(
        {
            "name": name, "file": f"{name}.so", "algorithm": algorithm, "head_dim": head_dim,
            "group_size": group, "kv_dtype": kv_dtype,
            "sliding_window": variant.sliding_window, "soft_cap": variant.soft_cap,
        }
    )  # fmt: skip
