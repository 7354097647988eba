"""What an engine computes in which type, by the number of tokens in a step."""

from typing import Final

from nacelle_engine.arch import Architecture
from nacelle_engine.manifest import Numerics
from nacelle_engine.precision import QuantizationAlgorithm
from nacelle_engine.recipe import Recipe

# Up to here a GPU's step reads weights at the memory's speed whatever it does with them, so
# activations stay bfloat16; above, FP8 products are the faster ones.
FUSED_TOKENS: Final = 128


def fused_tokens(recipe: Recipe) -> int:
    """The largest step of a GPU engine whose activations are not quantised."""
    limit = recipe.limits.max_num_tokens
    quantised = (
        recipe.quantization.algorithm != QuantizationAlgorithm.NONE
        # sm_80 has no FP8 products.
        and recipe.architecture != Architecture.SM_80
    )
    return min(FUSED_TOKENS, limit) if quantised else limit


def numerics(recipe: Recipe) -> tuple[Numerics, ...]:
    """One entry a range of tokens, from 1 to the limit without a gap."""
    compute = recipe.quantization.compute_type.value
    fp8 = recipe.quantization.algorithm != QuantizationAlgorithm.NONE
    if recipe.architecture.is_cpu:
        stored = f"float8_e4m3fn per channel, {compute} once loaded" if fp8 else compute
    else:
        stored = "float8_e4m3fn per channel" if fp8 else compute
    fused = recipe.limits.max_num_tokens
    if not recipe.architecture.is_cpu:
        fused = fused_tokens(recipe)
    plain = Numerics(
        min_tokens=1,
        max_tokens=fused,
        weights=stored,
        activations=compute,
        accumulation="float32",
    )
    if fused == recipe.limits.max_num_tokens:
        return (plain,)
    quantised = Numerics(
        min_tokens=fused + 1,
        max_tokens=recipe.limits.max_num_tokens,
        weights=stored,
        activations="float8_e4m3fn per token",
        accumulation="float32, shorter within the tensor cores' products",
    )
    return plain, quantised
