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


def quantises(recipe: Recipe, tokens: int) -> bool:
    """True when a step of so many tokens quantises its activations."""
    return not recipe.architecture.is_cpu and tokens > fused_tokens(recipe)


def numerics(recipe: Recipe) -> tuple[Numerics, ...]:
    """One entry a range of tokens, from 1 to the limit without a gap."""
    compute, limit = recipe.quantization.compute_type.value, recipe.limits.max_num_tokens
    stored = compute
    if recipe.quantization.algorithm != QuantizationAlgorithm.NONE:
        loaded = f", {compute} once loaded" if recipe.architecture.is_cpu else ""
        stored = f"float8_e4m3fn per channel{loaded}"
    plain = Numerics(
        min_tokens=1,
        max_tokens=limit,
        weights=stored,
        activations=compute,
        accumulation="float32",
    )
    if not quantises(recipe, limit):
        return (plain,)
    fused = fused_tokens(recipe)
    quantised = Numerics(
        min_tokens=fused + 1,
        max_tokens=limit,
        weights=stored,
        activations="float8_e4m3fn per token",
        accumulation="float32, shorter within the tensor cores' products",
    )
    return plain.model_copy(update={"max_tokens": fused}), quantised
