"""How numbers are kept: algorithms of quantisation, the KV cache's type, the type computed in."""

from enum import StrEnum
from typing import Self

from pydantic import model_validator

from nacelle_engine.calibration import Calibration
from nacelle_engine.frozen import Frozen


class QuantizationAlgorithm(StrEnum):
    """TensorRT-LLM's names for how linear weights and activations are quantised."""

    FP8 = "FP8"
    FP8_PER_CHANNEL_PER_TOKEN = "FP8_PER_CHANNEL_PER_TOKEN"
    NONE = "NONE"


class Fp8OrNone(StrEnum):
    """A part that is kept in FP8 E4M3, or in the compute type."""

    FP8 = "FP8"
    NONE = "NONE"


class ComputeType(StrEnum):
    """The type of activations and of what is not quantised."""

    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"


class Quantization(Frozen):
    """What of an engine is quantised and how."""

    algorithm: QuantizationAlgorithm = QuantizationAlgorithm.FP8_PER_CHANNEL_PER_TOKEN
    """How linear weights and their inputs are quantised."""

    kv_cache: Fp8OrNone = Fp8OrNone.NONE
    """The type of the KV cache."""

    lm_head: Fp8OrNone = Fp8OrNone.NONE
    """The type of the output projection."""

    compute_type: ComputeType = ComputeType.BFLOAT16
    """The type of activations and of what is not quantised."""

    calibration: Calibration | None = None
    """How static scales are found; left out: from the built-in texts, by their largest value.
    It has no meaning where nothing has a static scale: refused there."""

    @property
    def calibrated(self) -> bool:
        """True where something has a static scale: linear inputs (FP8), or the KV cache."""
        return self.algorithm == QuantizationAlgorithm.FP8 or self.kv_cache == Fp8OrNone.FP8

    @model_validator(mode="after")
    def _calibrate_something(self) -> Self:
        if self.calibration is not None and not self.calibrated:
            raise ValueError(
                f"quantization.calibration has no meaning with algorithm {self.algorithm} and "
                f"kvCache {self.kv_cache}: nothing has a static scale; leave it out"
            )
        return self


class Determinism(StrEnum):
    """Fast: the quickest kernels. BatchInvariant: a row's result never depends on its batch."""

    FAST = "Fast"
    BATCH_INVARIANT = "BatchInvariant"
