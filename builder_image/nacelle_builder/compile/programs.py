"""Compile an engine's programs: embed, one layer of each kind, head, and the kernels they call."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from nacelle_builder.compile.aot import compile_program
from nacelle_builder.compile.signature import signature_of
from nacelle_builder.compile.tactics import choose_tactics
from nacelle_builder.compile.toolchain import Toolchain
from nacelle_engine.errors import InvalidRequest
from nacelle_engine.model.decoder import Embed, Head, Layer
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.program.signature import KERNELS, PROGRAMS, TACTICS
from nacelle_engine.program.weights import DTYPES
from nacelle_engine.recipe import Recipe

Report = Callable[[int, str], None]


def compile_programs(spec: ModelSpec, recipe: Recipe, out: Path, report: Report) -> None:
    """Write kernels.so, the programs, programs.json and tactics.json into `out` (a rank's folder).

    `report(percent, message)` is called as the work goes on, percent of this stage alone.
    Needs no weights. Raises CompileFailed with the compiler's last lines.
    """
    _check(spec, recipe)
    out.mkdir(parents=True, exist_ok=True)
    signature = signature_of(spec, recipe)
    with tempfile.TemporaryDirectory(prefix="nacelle-compile-") as folder:
        toolchain = Toolchain(recipe.architecture, Path(folder))
        report(0, f"compiling the kernels for {recipe.architecture}")
        toolchain.compile_kernels(out / KERNELS)
        report(20, "timing the kernels")
        tactics = choose_tactics(spec, recipe, out / KERNELS)
        dtype = DTYPES[recipe.quantization.compute_type]
        layers = [Layer(spec, kind, tactics.chosen) for kind in spec.kinds]
        modules = (
            (signature.embed, Embed(spec, dtype)),
            *zip(signature.kinds, layers, strict=True),
            (signature.head, Head(spec)),
        )
        for number, (program, module) in enumerate(modules):
            report(25 + 75 * number // len(modules), f"compiling the program {program.name}")
            compile_program(module, program, toolchain, out / KERNELS, out)
    (out / TACTICS).write_text(tactics.model_dump_json(by_alias=True, indent=1))
    (out / PROGRAMS).write_text(signature.model_dump_json(by_alias=True, indent=1))
    report(100, "compiled")


def _check(spec: ModelSpec, recipe: Recipe) -> None:
    if not recipe.architecture.is_cpu:
        raise InvalidRequest(f"architecture {recipe.architecture}: only CPU targets are built yet")
    if recipe.limits.max_seq_len > spec.max_position_embeddings:
        raise InvalidRequest(
            f"limits.maxSeqLen {recipe.limits.max_seq_len} is above the model's "
            f"max_position_embeddings {spec.max_position_embeddings}"
        )
