"""What a builder is asked for: the JSON an operator gives a Job, and the CLI makes from flags."""

from typing import Literal, Self

from pydantic import Field, model_validator

from nacelle_engine.frozen import Frozen
from nacelle_engine.recipe import Recipe


class HuggingFaceSource(Frozen):
    """A hub repository at one revision; token, endpoint and CA reach the pod as environment."""

    repo: str
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")


class FolderSource(Frozen):
    """A Hugging Face checkpoint in a folder; a digest, when given, must match its content."""

    path: str
    digest: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")


class AccuracyBounds(Frozen):
    """The user's bounds on quality, judged on the measured figures."""

    max_kl_divergence: str = Field(
        default="0.05", pattern=r"^[0-9]+(\.[0-9]+)?$", max_length=16, alias="maxKLDivergence"
    )
    """The largest mean KL(reference || engine), as a decimal string."""

    min_top_one_agreement_percent: int = Field(default=90, ge=0, le=100)
    """The least share of positions whose most likely token is the reference's."""

    max_perplexity_increase_percent: int = Field(default=5, ge=0, le=1000)
    """The largest growth of the perplexity over the reference's."""

    samples: int = Field(default=64, ge=1, le=4096)
    """Texts that are measured."""

    on_failure: Literal["Fail", "Publish"] = "Fail"
    """Fail refuses an engine outside the bounds; Publish publishes it all the same."""


class BuildRequest(Frozen):
    """One engine to build from one source into one store."""

    model_name: str
    hugging_face: HuggingFaceSource | None = None
    folder: FolderSource | None = None
    recipe: Recipe
    accuracy: AccuracyBounds = AccuracyBounds()
    store: str
    request_key: str = ""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.hugging_face is None) == (self.folder is None):
            raise ValueError("exactly one of huggingFace and folder names the model's source")
        return self

    @model_validator(mode="after")
    def _calibration_at_hand(self) -> Self:
        calibration = self.recipe.quantization.calibration
        if self.folder is None and calibration is not None and calibration.path is not None:
            raise ValueError(
                f"quantization.calibration.path {calibration.path!r} is a file in the model's "
                "folder, and a hub's model has none: leave it out, or put the model into a claim"
            )
        return self
