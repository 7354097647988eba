"""Stages that read the model long after its digest was taken: it must be the same model still."""

from collections.abc import Callable
from pathlib import Path

from nacelle_builder.build import Build, Facts
from nacelle_builder.calibrate.texts import calibration_digest
from nacelle_builder.report import Report
from nacelle_builder.source.digest import DigestCache, model_digest
from nacelle_builder.source.files import find_checkpoint
from nacelle_engine.errors import NacelleError, SourceUnavailable

Run = Callable[[Build, Facts, Report], Facts]


def of_one_model(run: Run) -> Run:
    """The stage, whose result counts only when the model's files did not change meanwhile.

    What such a change makes fail is told as that, too: another attempt reads the new files.
    """

    def checked(build: Build, facts: Facts, report: Report) -> Facts:
        try:
            made = run(build, facts, report)
        except NacelleError as error:
            _refuse_changed(build, facts, error)
            raise
        _refuse_changed(build, facts)
        return made

    return checked


def _refuse_changed(build: Build, facts: Facts, error: NacelleError | None = None) -> None:
    folder = Path(facts.model_folder)
    cache = DigestCache(build.cached_digests)
    try:
        model = model_digest(find_checkpoint(folder), cache)
        calibration = calibration_digest(build.request.recipe.quantization, folder)
    except NacelleError as gone:
        raise SourceUnavailable(f"{folder} changed while it was built: {gone}") from error
    if (model, calibration) != (facts.model_digest, facts.calibration_digest):
        raise SourceUnavailable(
            f"{folder} changed while it was built: its digest was {facts.model_digest}, and is "
            f"{model} now"
        ) from error
