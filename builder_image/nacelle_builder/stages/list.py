"""The stages of a build, in order."""

from nacelle_builder.build import BUNDLE, CALIBRATION, CHECKPOINT, RANK0, Build
from nacelle_builder.pipeline import Stage
from nacelle_builder.stages import calibrate, compile, convert, gate, publish, seal, source
from nacelle_builder.stages.unchanged import of_one_model

SOURCE = Stage("source", 3, source.run, resumes=False)
# Before convert, which writes each scale beside its weight.
CALIBRATE = Stage(
    "calibrate", 10, of_one_model(calibrate.run), folders=(CALIBRATION,), portable=True
)
CONVERT = Stage("convert", 5, of_one_model(convert.run), folders=(CHECKPOINT,), portable=True)
KEEP = Stage("keep", 1, convert.keep, resumes=False)
COMPILE = Stage("compile", 64, compile.run, folders=(RANK0,))
GATE = Stage("gate", 23, of_one_model(gate.run), settings=gate.settings)
# Publishing moves the bundle away, so a retry always seals anew.
SEAL = Stage("seal", 4, of_one_model(seal.run), folders=(BUNDLE,), resumes=False)
PUBLISH = Stage("publish", 1, publish.run, resumes=False)
# The stages that a build may end after: none of them needs the target's machine.
PREPARING = (SOURCE.name, CALIBRATE.name, CONVERT.name)


def stages_of(build: Build) -> tuple[Stage, ...]:
    """What this build has to go through."""
    calibrated = (CALIBRATE,) if build.request.recipe.quantization.calibrated else ()
    kept = (KEEP,) if build.keep_checkpoint is not None else ()
    return (SOURCE, *calibrated, CONVERT, *kept, COMPILE, GATE, SEAL, PUBLISH)
