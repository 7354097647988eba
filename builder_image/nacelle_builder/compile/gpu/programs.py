"""A GPU engine's program: the launch list, and the cubins that it launches."""

from pathlib import Path

from nacelle_builder.compile.gpu.cubins import compile_cubins
from nacelle_builder.compile.gpu.lower import lower
from nacelle_builder.compile.gpu.places import places
from nacelle_builder.compile.gpu.signature import signature_of
from nacelle_builder.compile.gpu.tactics import choose
from nacelle_builder.report import Report
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.program.launch import LAUNCHES, LaunchList
from nacelle_engine.program.signature import PROGRAMS, TACTICS
from nacelle_engine.recipe import Recipe


def compile_launches(spec: ModelSpec, recipe: Recipe, out: Path, report: Report) -> None:
    """Write the cubins, launches.json, programs.json and tactics.json into `out`.

    One set of kernels serves all layers, so the time does not grow with depth.
    """
    signature = signature_of(spec, recipe)
    chosen, tactics = choose(places(spec, recipe), signature, spec, recipe, report)
    lowered = lower(spec, recipe, chosen)
    report(85, f"compiling {len(lowered.kernels)} kernels for {recipe.architecture}")
    launches = LaunchList(
        kernels=compile_cubins(lowered.kernels, recipe.architecture, out),
        buffers=lowered.buffers,
        steps=lowered.steps,
        heads=lowered.heads,
    )
    (out / LAUNCHES).write_text(launches.model_dump_json(by_alias=True))
    (out / TACTICS).write_text(tactics.model_dump_json(by_alias=True, indent=1))
    (out / PROGRAMS).write_text(signature.model_dump_json(by_alias=True, indent=1))
    report(100, "compiled")
