"""compile: the engine's programs, with the checkpoint's weights beside them, in <work>/rank0."""

from pathlib import Path

from nacelle_builder.build import CHECKPOINT, RANK0, Build, Facts
from nacelle_builder.compile.programs import compile_programs
from nacelle_builder.convert import checkpoint
from nacelle_builder.durable import link_or_copy
from nacelle_builder.memory_check import check_memory
from nacelle_builder.report import Report
from nacelle_builder.source.files import find_checkpoint
from nacelle_builder.source.model_config import model_config
from nacelle_engine.model.family import read_spec
from nacelle_engine.program.signature import WEIGHTS


def run(build: Build, facts: Facts, report: Report) -> Facts:
    """Write <work>/rank0, ready to be opened as a program."""
    spec = read_spec(model_config(find_checkpoint(Path(facts.model_folder))))
    recipe = build.request.recipe
    if build.machine.gpu is not None and not recipe.architecture.is_cpu:
        # Converted where this GPU was not at hand, perhaps.
        check_memory(spec, recipe, build.machine.gpu)
    rank = build.work / RANK0
    rank.mkdir()
    compile_programs(spec, recipe, rank, report, build.libraries)
    link_or_copy(build.work / CHECKPOINT / checkpoint.RANK0, rank / WEIGHTS)
    return facts
