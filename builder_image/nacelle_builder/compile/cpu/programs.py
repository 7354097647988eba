"""A CPU engine's programs: embed, one layer of each kind, head, and the kernels they call."""

import tempfile
from pathlib import Path

from nacelle_builder.compile.cpu.aot import compile_program
from nacelle_builder.compile.cpu.signature import signature_of
from nacelle_builder.compile.cpu.tactics import choose_tactics
from nacelle_builder.compile.cpu.toolchain import Toolchain
from nacelle_builder.report import Report
from nacelle_engine.model.decoder import Embed, Head, Layer
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.program.signature import KERNELS, PROGRAMS, TACTICS
from nacelle_engine.program.weights import DTYPES
from nacelle_engine.recipe import Recipe


def compile_libraries(
    spec: ModelSpec, recipe: Recipe, out: Path, report: Report, kept: Path | None = None
) -> None:
    """Write kernels.so, the programs, programs.json and tactics.json into `out`.

    kept: a folder of what earlier builds have compiled, and that this one adds to.
    """
    signature = signature_of(spec, recipe)
    with tempfile.TemporaryDirectory(prefix="nacelle-compile-") as folder:
        objects = kept / "objects" if kept else None
        toolchain = Toolchain(recipe.architecture, Path(folder), kept=objects)
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
