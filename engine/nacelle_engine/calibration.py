"""How static scales are found: which texts a model is run on, and what of its values counts."""

from enum import StrEnum
from pathlib import PurePosixPath
from typing import Self

from pydantic import Field, model_validator

from nacelle_engine.frozen import Frozen

DEFAULT_PERCENTILE = "99.9999"


class CalibrationMethod(StrEnum):
    """AbsMax: the largest absolute value. Percentile: the one that few values lie above."""

    ABS_MAX = "AbsMax"
    PERCENTILE = "Percentile"


class Calibration(Frozen):
    """How the scales of linear inputs and of the KV cache are found: scale = value / 448."""

    method: CalibrationMethod = CalibrationMethod.ABS_MAX
    """AbsMax: the largest absolute value seen. Percentile: values above it are cut off."""

    percentile: str | None = Field(
        default=None, pattern=r"^(100|[0-9]{1,2}(\.[0-9]{1,4})?)$", max_length=7
    )
    """For Percentile: the percentage of values that are not cut off, as a decimal string; left
    out: 99.9999. Few models bear to lose more: their largest activations are rare and matter."""

    samples: int = Field(default=512, ge=1, le=4096)
    """Texts that are run at most, each of at most 512 tokens."""

    path: str | None = Field(default=None, min_length=1, max_length=512)
    """The texts: a file in the model's folder, plain (.txt) or JSON lines with "text" (.jsonl);
    left out: short built-in ones."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.percentile is not None and self.method != CalibrationMethod.PERCENTILE:
            raise ValueError(
                f"calibration.percentile has no meaning with method {self.method}: "
                "leave it out or use Percentile"
            )
        if self.path is not None:
            _check_path(self.path)
        return self


def _check_path(path: str) -> None:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts:
        raise ValueError(
            f"calibration.path {path!r} must be relative to the model's folder and stay inside it"
        )
    if pure.suffix not in (".txt", ".jsonl"):
        raise ValueError(
            f"calibration.path {path!r} must end with .txt (plain text) or .jsonl (a JSON object "
            'with "text" a line)'
        )
