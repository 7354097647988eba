"""What TensorRT's plans are not made for, refused by name before anything is compiled."""

from typing import Final

from nacelle_engine.arch import Architecture
from nacelle_engine.errors import InvalidRequest
from nacelle_engine.precision import Determinism, QuantizationAlgorithm
from nacelle_engine.recipe import Recipe

# libnvinfer 10 holds kernels of these.
_ARCHITECTURES: Final = (
    Architecture.SM_80,
    Architecture.SM_89,
    Architecture.SM_90,
    Architecture.SM_100,
)


def check_tensorrt(recipe: Recipe) -> None:
    """InvalidRequest names the field that `backend: tensorrt` does not go with."""
    architecture, algorithm = recipe.architecture, recipe.quantization.algorithm
    if architecture not in _ARCHITECTURES:
        raise InvalidRequest(
            f"backend tensorrt compiles for GPUs, the target is {architecture}: use backend native"
        )
    if architecture == Architecture.SM_80 and algorithm != QuantizationAlgorithm.NONE:
        raise InvalidRequest(
            f"quantization.algorithm {algorithm} needs sm_89 or later with backend tensorrt, which "
            "multiplies FP8 with FP8 alone; the target is sm_80: use NONE, or backend native"
        )
    if recipe.determinism == Determinism.BATCH_INVARIANT:
        raise InvalidRequest(
            "determinism BatchInvariant is not built for backend tensorrt, whose kernels follow "
            "the step's size: use Fast, or backend native"
        )
