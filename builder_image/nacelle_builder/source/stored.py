"""How a checkpoint says that its linear weights are stored: plain, or quantised already."""

import re
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from nacelle_engine.errors import InvalidRequest
from nacelle_engine.precision import Fp8OrNone, Quantization, QuantizationAlgorithm


class Granularity(StrEnum):
    """How many numbers of a weight [out, in] share one scale."""

    TENSOR = "per tensor"
    CHANNEL = "per output channel"
    BLOCK = "in blocks"


@dataclass(frozen=True)
class Stored:
    """FP8 E4M3 weights of a ready-made checkpoint: weight = e4m3 * scale.

    origin         where the checkpoint says so, for messages
    weights        which numbers share a scale
    static_inputs  True: each linear has a scale for its input; False: inputs per token
    kv_cache       the checkpoint is meant for an FP8 KV cache
    excluded       modules that are not quantised: names, their beginnings, patterns
    weight_scale   what stands for "weight" in the name of a weight's scale
    input_scales   the names that an input's scale may have, the usual one first
    block          rows and columns that share a scale, for BLOCK
    """

    origin: str
    weights: Granularity
    static_inputs: bool
    kv_cache: bool
    excluded: tuple[str, ...] = ()
    weight_scale: str = "weight_scale"
    input_scales: tuple[str, ...] = ("input_scale",)
    block: tuple[int, int] = (1, 1)

    @property
    def algorithm(self) -> QuantizationAlgorithm:
        """The one algorithm whose weights these are, or can be made to be."""
        if self.weights == Granularity.TENSOR and self.static_inputs:
            return QuantizationAlgorithm.FP8
        return QuantizationAlgorithm.FP8_PER_CHANNEL_PER_TOKEN

    @property
    def taken_as_is(self) -> bool:
        """False where the weights must be dequantised and quantised anew."""
        return self.weights != Granularity.BLOCK

    def excludes(self, module: str) -> bool:
        """Whether the checkpoint leaves a module, such as model.layers.0.mlp.up_proj, plain."""
        return any(_matches(pattern, module) for pattern in self.excluded)

    def __str__(self) -> str:
        inputs = "static" if self.static_inputs else "per-token"
        return f"FP8 {self.weights} with {inputs} inputs ({self.origin})"


def check_asked(stored: Stored, quantization: Quantization) -> None:
    """Refuse a recipe that the checkpoint's weights were not made for."""
    if quantization.algorithm != stored.algorithm:
        raise InvalidRequest(
            f"quantization.algorithm {quantization.algorithm} cannot be made of this checkpoint: "
            f"it holds {stored}; ask for {stored.algorithm}, or give the unquantised model"
        )


def _matches(pattern: str, module: str) -> bool:
    if pattern.startswith("re:"):
        return re.match(pattern[3:], module) is not None
    return fnmatchcase(module, pattern) or module.startswith(pattern.rstrip(".") + ".")


def module_name(tensor: str) -> str:
    """The module of a weight: model.layers.0.mlp.up_proj of model.layers.0.mlp.up_proj.weight."""
    return tensor.removesuffix(".weight")


def needs_calibration(stored: Stored | None, quantization: Quantization, kv_scales: bool) -> bool:
    """Whether any static scale that the recipe asks for is not in the checkpoint.

    `kv_scales`: the checkpoint has scales for keys and values.
    """
    inputs = quantization.algorithm == QuantizationAlgorithm.FP8
    has_inputs = stored is not None and stored.static_inputs
    cache = quantization.kv_cache == Fp8OrNone.FP8
    return (inputs and not has_inputs) or (cache and not kv_scales)
