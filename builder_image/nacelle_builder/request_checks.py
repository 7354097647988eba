"""What this builder can build, here and today; anything else is refused by name before any work."""

from nacelle_builder.compile.tensorrt.request_check import check_tensorrt
from nacelle_engine.arch import Architecture, cpu_level, missing_flags
from nacelle_engine.errors import InvalidRequest, TargetMismatch, UnsupportedModel
from nacelle_engine.machine import Gpu, Machine
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.precision import ComputeType, Fp8OrNone, QuantizationAlgorithm
from nacelle_engine.program.tensorrt_api import tensorrt
from nacelle_engine.recipe import Recipe

GPU_FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "phi3", "gemma2", "gemma3")


def check_recipe(recipe: Recipe, machine: Machine | None) -> None:
    """Refuse what is not built yet, and a target that this machine could not check; without one,
    nothing is compiled here."""
    _check_quantization(recipe)
    if recipe.backend == "tensorrt":
        check_tensorrt(recipe)
    if recipe.architecture.is_cpu:
        if recipe.gpu_product != "any":
            raise InvalidRequest(
                f"gpuProduct {recipe.gpu_product!r} has no meaning for the CPU target "
                f"{recipe.architecture}"
            )
        if machine is not None:
            _check_cpu(recipe.architecture, machine.cpu_flags)
    else:
        _check_gpu_recipe(recipe)
        if machine is not None:
            _check_gpu(recipe, machine.gpu)
    if recipe.backend == "tensorrt" and machine is not None:
        # Missing, or of another version: it says how to install it.
        tensorrt()


def check_model(recipe: Recipe, spec: ModelSpec) -> None:
    """Refuse limits that the model cannot reach, and what its target has no ops for: a family, or
    a head's size."""
    if recipe.limits.max_seq_len > spec.max_position_embeddings:
        raise InvalidRequest(
            f"limits.maxSeqLen {recipe.limits.max_seq_len} is above the model's "
            f"max_position_embeddings {spec.max_position_embeddings}"
        )
    if not recipe.architecture.is_cpu and spec.family not in GPU_FAMILIES:
        raise UnsupportedModel(
            f"family {spec.family} is not built yet for {recipe.architecture}: GPU targets take "
            f"{', '.join(GPU_FAMILIES)}"
        )
    if not recipe.architecture.is_cpu:
        # Imported when chosen: a CPU's build needs no GPU compiler.
        from nacelle_builder.compile.gpu.attention import attention_shape

        for kind in spec.kinds:
            attention_shape(spec, kind, recipe)


def _check_quantization(recipe: Recipe) -> None:
    quantization = recipe.quantization
    if quantization.lm_head == Fp8OrNone.FP8:
        raise InvalidRequest("quantization.lmHead FP8 is not built yet: use NONE")
    if recipe.architecture.is_cpu and quantization.algorithm == QuantizationAlgorithm.FP8:
        raise InvalidRequest(
            "quantization.algorithm FP8 (static scales) is not built yet for CPU architectures: "
            "use FP8_PER_CHANNEL_PER_TOKEN or NONE"
        )
    if quantization.kv_cache == Fp8OrNone.FP8:
        if recipe.architecture.is_cpu:
            raise InvalidRequest(
                "quantization.kvCache FP8 is not built yet for CPU architectures: use NONE"
            )
        if recipe.architecture == Architecture.SM_80:
            raise InvalidRequest(
                "quantization.kvCache FP8 needs sm_89 or later, the target is sm_80: use NONE"
            )


def _check_gpu_recipe(recipe: Recipe) -> None:
    if recipe.quantization.compute_type != ComputeType.BFLOAT16:
        raise InvalidRequest(
            f"quantization.computeType {recipe.quantization.compute_type} is built for CPU targets "
            f"only; {recipe.architecture} computes in bfloat16"
        )


def _check_cpu(architecture: Architecture, flags: frozenset[str]) -> None:
    if missing := missing_flags(architecture, flags):
        raise TargetMismatch(
            f"an engine for {architecture} cannot be built here: the gate runs what was compiled, "
            f"and this CPU ({cpu_level(flags) or 'below x86-64-v3'}) lacks "
            f"{', '.join(sorted(missing))}"
        )


def _check_gpu(recipe: Recipe, gpu: Gpu | None) -> None:
    product = recipe.gpu_product
    wanted = str(recipe.architecture) + ("" if product == "any" else f" ({product})")
    here = f"this machine's GPU is {gpu}" if gpu else "this machine has no GPU"
    fits = gpu is not None and (
        gpu.compute_capability == recipe.architecture.compute_capability
        and product in ("any", gpu.product)
    )
    if not fits:
        raise TargetMismatch(
            f"an engine for {wanted} cannot be built here: the gate runs what was compiled, and "
            f"{here}"
        )
