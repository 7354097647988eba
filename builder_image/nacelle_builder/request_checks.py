"""What this builder can build, here and today; anything else is refused by name before any work."""

from nacelle_engine.arch import cpu_level, missing_flags
from nacelle_engine.errors import InvalidRequest, TargetMismatch
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.precision import Fp8OrNone, QuantizationAlgorithm
from nacelle_engine.recipe import Recipe


def check_recipe(recipe: Recipe, flags: frozenset[str]) -> None:
    """Refuse what is not built yet, and a target that this machine (`flags`) could not check."""
    architecture = recipe.architecture
    if not architecture.is_cpu:
        raise InvalidRequest(f"architecture {architecture} is not built yet: only CPU targets are")
    if recipe.gpu_product != "any":
        raise InvalidRequest(
            f"gpuProduct {recipe.gpu_product!r} has no meaning for the CPU target {architecture}"
        )
    quantization = recipe.quantization
    if quantization.algorithm == QuantizationAlgorithm.FP8:
        raise InvalidRequest(
            "quantization.algorithm FP8 (per tensor, calibrated) is not built yet for CPU targets; "
            "use FP8_PER_CHANNEL_PER_TOKEN or NONE"
        )
    if quantization.kv_cache == Fp8OrNone.FP8:
        raise InvalidRequest("quantization.kvCache FP8 is not built yet for CPU targets")
    if quantization.lm_head == Fp8OrNone.FP8:
        raise InvalidRequest("quantization.lmHead FP8 is not built yet for CPU targets")
    if missing := missing_flags(architecture, flags):
        raise TargetMismatch(
            f"an engine for {architecture} cannot be built here: the gate runs what was compiled, "
            f"and this CPU ({cpu_level(flags) or 'below x86-64-v3'}) lacks "
            f"{', '.join(sorted(missing))}"
        )


def check_limits(recipe: Recipe, spec: ModelSpec) -> None:
    """Refuse limits that the model itself cannot reach."""
    if recipe.limits.max_seq_len > spec.max_position_embeddings:
        raise InvalidRequest(
            f"limits.maxSeqLen {recipe.limits.max_seq_len} is above the model's "
            f"max_position_embeddings {spec.max_position_embeddings}"
        )
