"""convert: the model as a TensorRT-LLM-format checkpoint in the work folder."""

import filecmp
import shutil
from pathlib import Path

from nacelle_builder.build import CALIBRATION, CHECKPOINT, Build, Facts
from nacelle_builder.calibrate.scales import read_scales
from nacelle_builder.convert.convert import convert, read_model
from nacelle_builder.memory_check import check_memory
from nacelle_builder.report import Report
from nacelle_builder.request_checks import check_model
from nacelle_builder.source.files import find_checkpoint
from nacelle_engine.errors import InvalidRequest


def run(build: Build, facts: Facts, report: Report) -> Facts:
    """Write <work>/checkpoint."""
    model = read_model(find_checkpoint(Path(facts.model_folder)))
    recipe = build.request.recipe
    check_model(recipe, model.spec)
    if build.machine.gpu is not None and not recipe.architecture.is_cpu:
        check_memory(model.spec, recipe, build.machine.gpu)
    scales = read_scales(build.work / CALIBRATION)
    convert(model, recipe.quantization, build.work / CHECKPOINT, report, scales)
    return facts


def keep(build: Build, facts: Facts, report: Report) -> Facts:
    """Copy the checkpoint to the folder that the user asked for."""
    assert build.keep_checkpoint is not None
    check_keep(build)
    destination = build.keep_checkpoint.absolute()
    if _is_kept(build):
        return facts
    partial = destination.with_name(f".{destination.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(build.work / CHECKPOINT, partial)
    partial.rename(destination)
    return facts


def check_keep(build: Build) -> None:
    """Refuse to write over a folder that holds anything but the checkpoint that an earlier attempt
    at this build has kept there."""
    kept = build.keep_checkpoint
    if kept is None or not kept.exists() or _is_kept(build):
        return
    if not kept.is_dir() or any(kept.iterdir()):
        raise InvalidRequest(
            f"--keep-checkpoint {kept.absolute()} exists and is not an empty folder"
        )


def _is_kept(build: Build) -> bool:
    made, kept = build.work / CHECKPOINT, build.keep_checkpoint
    if kept is None or not kept.is_dir() or not made.is_dir():
        return False
    names = sorted(path.name for path in made.iterdir())
    if not names or names != sorted(path.name for path in kept.iterdir()):
        return False
    return filecmp.cmpfiles(made, kept, names, shallow=False)[0] == names
