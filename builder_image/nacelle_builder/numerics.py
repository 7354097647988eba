"""What an engine computes in which type, by the kind and number of tokens of a step."""

from dataclasses import dataclass
from typing import Final

from nacelle_engine.arch import Architecture
from nacelle_engine.manifest import Numerics
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.precision import Determinism, QuantizationAlgorithm
from nacelle_engine.program.launch import NumericsClass
from nacelle_engine.recipe import Recipe

# Microseconds of a layer's four projections in steps of 8, 32, 64 and 128 tokens (an 8B model on an
# H200): 84, 109, 140 and 266 with activations left as they are; 67, 72, 88 and more than 120 as
# blocks; 64, 65, 66 and 75 by the library, with about 10 more for the launches that quantise. One
# token takes 59 with its activations as they are.
FUSED_TOKENS: Final = 16
BLOCK_TOKENS: Final = 64
# Columns that share a scale; the attention's output has one a group of query heads instead.
BLOCK_COLUMNS: Final = 128


@dataclass(frozen=True)
class StepClasses:
    """The numerics class of every step.

    fused  the largest step that leaves activations as they are
    block  the largest step of one token a request that makes FP8 blocks of them; 0: none does
    """

    fused: int
    block: int

    def of(self, tokens: int, *, decode: bool) -> NumericsClass:
        """The class of a step of so many tokens; decode: one token a request."""
        if decode and 2 <= tokens <= self.block:
            return "block"
        return "fused" if tokens <= self.fused else "quantised"


def step_classes(spec: ModelSpec, recipe: Recipe) -> StepClasses:
    """The classes of a recipe's steps; a CPU's leave activations as they are.

    BatchInvariant has one class, so that a token is computed alike in every step: the fused one,
    since the library chooses its FP8 products by the step's size. TensorRT multiplies FP8 with FP8
    alone.
    """
    limit, algorithm = recipe.limits.max_num_tokens, recipe.quantization.algorithm
    # sm_80 has no FP8 products.
    without = recipe.architecture.is_cpu or recipe.architecture == Architecture.SM_80
    invariant = recipe.determinism == Determinism.BATCH_INVARIANT
    if without or invariant or algorithm == QuantizationAlgorithm.NONE:
        return StepClasses(fused=limit, block=0)
    if recipe.backend == "tensorrt":
        return StepClasses(fused=0, block=0)
    # The products over blocks add straight to the stream, and know of no bias.
    plain = not (spec.qkv_bias or spec.dense_bias or spec.output_norms)
    blocks = plain and not any(
        size % BLOCK_COLUMNS
        for size in (spec.hidden_size, spec.intermediate_size, attention_columns(spec))
    )
    most = min(BLOCK_TOKENS, recipe.limits.max_batch_size)
    return StepClasses(fused=min(FUSED_TOKENS, limit), block=most if blocks and most > 1 else 0)


def quantises(spec: ModelSpec, recipe: Recipe) -> bool:
    """Whether there are steps that quantise activations on their way."""
    return step_classes(spec, recipe).fused < recipe.limits.max_num_tokens


def attention_columns(spec: ModelSpec) -> int:
    """Columns of the attention's output that share a scale: the query heads of one KV head."""
    return spec.num_heads // spec.num_kv_heads * spec.head_dim


def numerics(spec: ModelSpec, recipe: Recipe) -> tuple[Numerics, ...]:
    """What steps compute in; the first entry that fits a step is its own."""
    compute, limit = recipe.quantization.compute_type.value, recipe.limits.max_num_tokens
    classes = step_classes(spec, recipe)
    static = recipe.quantization.algorithm == QuantizationAlgorithm.FP8
    stored = compute
    if recipe.quantization.algorithm != QuantizationAlgorithm.NONE:
        loaded = f", {compute} once loaded" if recipe.architecture.is_cpu else ""
        stored = f"float8_e4m3fn per {'tensor' if static else 'channel'}{loaded}"
    made = []
    if classes.block:
        made.append(
            Numerics(
                min_tokens=2,
                max_tokens=classes.block,
                decode=True,
                weights=stored,
                activations=f"float8_e4m3fn per token and block of {BLOCK_COLUMNS}",
                accumulation="float32, shorter within the tensor cores' products of one block",
            )
        )
    if classes.fused:
        made.append(
            Numerics(
                min_tokens=1,
                max_tokens=classes.fused,
                weights=stored,
                activations=compute,
                accumulation="float32",
            )
        )
    if classes.fused < limit:
        made.append(
            Numerics(
                min_tokens=classes.fused + 1,
                max_tokens=limit,
                weights=stored,
                activations=f"float8_e4m3fn {'static' if static else 'per token'}",
                accumulation="float32, shorter within the tensor cores' products",
            )
        )
    return tuple(made)
