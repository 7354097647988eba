"""The places of attention: what a model's layers ask of its kernels, and which could serve."""

from dataclasses import replace

from nacelle_builder.compile.gpu.place import Candidate, Place, invariant, ranges
from nacelle_builder.numerics import step_classes
from nacelle_engine.model.spec import LayerKind, ModelSpec
from nacelle_engine.ops.gpu import decode_attention, prefill_attention
from nacelle_engine.ops.gpu.attention_output import Result
from nacelle_engine.ops.gpu.attention_shape import AttentionShape
from nacelle_engine.precision import Fp8OrNone, QuantizationAlgorithm
from nacelle_engine.program.launch import NumericsClass
from nacelle_engine.recipe import Recipe


def attention_shape(spec: ModelSpec, kind: LayerKind, recipe: Recipe) -> AttentionShape:
    """What attention kernels are compiled for in layers of a kind; UnsupportedModel if none are."""
    plain = spec.query_pre_attn_scalar == spec.head_dim
    # A window that no sequence outgrows hides nothing.
    window = kind.window if kind.window and kind.window < recipe.limits.max_seq_len else 0
    return AttentionShape(
        heads=spec.num_heads,
        kv_heads=spec.num_kv_heads,
        head_dim=spec.head_dim,
        fp8=recipe.quantization.kv_cache == Fp8OrNone.FP8,
        norm_eps=spec.norm_eps if spec.qk_norm else None,
        scale=None if plain else spec.attention_scale,
        soft_cap=spec.attention_soft_cap or 0.0,
        window=window,
        rotary_dim=None if spec.rotary_dim == spec.head_dim else spec.rotary_dim,
        architecture=recipe.architecture,
    )


def attention_places(spec: ModelSpec, kind: LayerKind, recipe: Recipe) -> list[Place]:
    """The places that layers of a kind have of their own."""
    shape = attention_shape(spec, kind, recipe)
    limits, made = recipe.limits, []
    if not invariant(recipe):
        made += _decode_places(spec, kind, recipe, shape)
    prefill = prefill_candidates(spec, shape, recipe)
    made.append(Place("prefill_attention", 1, limits.max_num_tokens, prefill, kind.name))
    return made


def prefill_candidates(
    spec: ModelSpec, shape: AttentionShape, recipe: Recipe
) -> tuple[Candidate, ...]:
    """Our own kernels for ragged queries, the safe one first."""
    choices = prefill_attention.choices(shape)
    if invariant(recipe):
        # Decode steps take it too: the fewer rows of a tile are empty then, the better.
        smallest = min(choices, key=lambda choice: prefill_attention.block_q(shape, choice))
        choices = (replace(smallest, masked=True),)
    prefill = tuple(
        Candidate(
            prefill_attention.kernel(shape, choice),
            query_tile=prefill_attention.block_q(shape, choice),
        )
        for choice in choices
    )
    if len(spec.kinds) > 1:
        # A step has one plan of query tiles, which all kinds follow.
        prefill = tuple(one for one in prefill if one.query_tile == prefill[0].query_tile)
    return prefill


def _decode_places(
    spec: ModelSpec, kind: LayerKind, recipe: Recipe, shape: AttentionShape
) -> list[Place]:
    classes, made = step_classes(spec, recipe), []
    for first, last in ranges(recipe.limits.max_batch_size):
        numerics = classes.of(last, decode=True)
        name = "block_attention" if numerics == "block" else "decode_attention"
        result = attention_result(numerics, recipe)
        made.append(Place(name, first, last, _decode(shape, last, result), kind.name))
    return made


def attention_result(numerics: NumericsClass, recipe: Recipe) -> Result:
    """What a decode step's attention gives, for the projection after it."""
    if numerics == "block":
        return "blocks"
    static = recipe.quantization.algorithm == QuantizationAlgorithm.FP8
    own = recipe.backend == "native"
    return "static" if static and own and numerics == "quantised" else "bf16"


def _decode(shape: AttentionShape, requests: int, result: Result) -> tuple[Candidate, ...]:
    made = []
    for choice in decode_attention.choices(shape, requests):
        partial, counters = decode_attention.workspace(shape, choice, requests)
        kernel = decode_attention.kernel(shape, choice, result=result)
        made.append(Candidate(kernel, partial=partial, counters=counters))
    return tuple(made)
