"""A GPU engine's program: the launch list, and the cubins and libraries that it launches."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from nacelle_builder.compile.gpu.cubins import compile_cubins
from nacelle_builder.compile.gpu.layer_launches import Linears, own_linears
from nacelle_builder.compile.gpu.lower import lower
from nacelle_builder.compile.gpu.places import places
from nacelle_builder.compile.gpu.plan import Plan
from nacelle_builder.compile.gpu.prompt_attention import offer
from nacelle_builder.compile.gpu.signature import signature_of
from nacelle_builder.compile.gpu.tactics import choose
from nacelle_builder.report import Report
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.program.attention_library import BuiltLibrary
from nacelle_engine.program.launch import LAUNCHES, LaunchList, PlanFile
from nacelle_engine.program.signature import PROGRAMS, TACTICS
from nacelle_engine.recipe import Recipe


def compile_launches(
    spec: ModelSpec,
    recipe: Recipe,
    out: Path,
    report: Report,
    kept: Path | None = None,
    linears: Callable[[Plan], Linears] = own_linears,
    plans: tuple[PlanFile, ...] = (),
) -> None:
    """Write the cubins, libraries, launches.json, programs.json and tactics.json into `out`.

    One set of kernels serves all layers, so the time does not grow with depth. kept: a folder of
    libraries that builds before this one have compiled. linears: what layers consist of beside
    attention; plans: what of it is in `out` already.
    """
    signature = signature_of(spec, recipe)
    offered = offer(spec, recipe)
    every = places(spec, recipe, offered.libraries)
    with tempfile.TemporaryDirectory(prefix="nacelle-libraries-") as scratch:
        put = offered.compiler(recipe.architecture, kept or Path(scratch))
        chosen, tactics = choose(every, signature, spec, recipe, report, put)
        lowered = lower(spec, recipe, chosen, linears)
        put(lowered.libraries, out)
    report(85, f"compiling {len(lowered.kernels)} kernels for {recipe.architecture}")
    launches = LaunchList(
        kernels=compile_cubins(lowered.kernels, recipe.architecture, out),
        libraries=tuple(
            BuiltLibrary(library=library, abi=offered.abi) for library in lowered.libraries
        ),
        plans=plans,
        buffers=lowered.buffers,
        steps=lowered.steps,
        heads=lowered.heads,
    )
    told = offered.told(lowered.libraries)
    tactics = tactics.model_copy(update={"attention": told})
    (out / LAUNCHES).write_text(launches.model_dump_json(by_alias=True))
    (out / TACTICS).write_text(tactics.model_dump_json(by_alias=True, indent=1))
    (out / PROGRAMS).write_text(signature.model_dump_json(by_alias=True, indent=1))
    report(100, f"compiled; attention over prompts: {told}")
