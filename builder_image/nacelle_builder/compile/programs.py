"""Compile an engine's programs for its target: a CPU level's libraries, or a GPU's launch list."""

from pathlib import Path

from nacelle_builder.report import Report
from nacelle_builder.request_checks import check_model
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.recipe import Recipe


def compile_programs(
    spec: ModelSpec, recipe: Recipe, out: Path, report: Report, kept: Path | None = None
) -> None:
    """Write programs.json, tactics.json and what they name into `out` (a rank's folder).

    `report(percent, message)` is called as the work goes on, percent of this stage alone.
    kept: a folder of what earlier builds have compiled, and that this one adds to; None: all is
    compiled anew. Needs no weights, and no GPU. Raises CompileFailed with the compiler's
    last lines.
    """
    check_model(recipe, spec)
    out.mkdir(parents=True, exist_ok=True)
    # Imported when chosen: each side needs its own compiler.
    if recipe.architecture.is_cpu:
        from nacelle_builder.compile.cpu.programs import compile_libraries

        compile_libraries(spec, recipe, out, report, kept)
    elif recipe.backend == "tensorrt":
        from nacelle_builder.compile.tensorrt.programs import compile_by_tensorrt

        compile_by_tensorrt(spec, recipe, out, report, kept)
    else:
        from nacelle_builder.compile.gpu.programs import compile_launches

        compile_launches(spec, recipe, out, report, kept)
