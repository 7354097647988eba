"""The places of a GPU's program where a kernel stands, each with what could serve it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch

from nacelle_builder.compile.gpu.attention import attention_places, attention_shape
from nacelle_builder.compile.gpu.head import head_places
from nacelle_builder.compile.gpu.place import (
    Candidate,
    Place,
    invariant,
    ranges,
    step_ranges,
    tiled,
)
from nacelle_builder.compile.gpu.prompt_attention import prompt_places
from nacelle_builder.numerics import attention_columns, step_classes
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.ops.gpu import (
    act_quantise,
    block_gate_up,
    block_input,
    block_linear,
    block_linear_residual,
    embed,
    linear_residual,
    norm_gate_up,
    norm_linear,
    norm_quantise,
    norm_residual,
    quantise,
    rope_append,
    static_gate_up,
)
from nacelle_engine.ops.gpu.fp8 import Output
from nacelle_engine.ops.gpu.kernel import Kernel
from nacelle_engine.ops.gpu.tiling import WeightType
from nacelle_engine.precision import QuantizationAlgorithm
from nacelle_engine.program.attention_library import AttentionLibrary
from nacelle_engine.recipe import Recipe

# Where kernels that quantise rows may change: few rows are quickest with many threads a row.
_QUANTISED_ENDS = (256, 1024)
_RAW_TOKENS = 1024
_NONE: Mapping[str, AttentionLibrary] = {}


def places(
    spec: ModelSpec, recipe: Recipe, libraries: Mapping[str, AttentionLibrary] = _NONE
) -> tuple[Place, ...]:
    """Every place of the program; libraries: what attention over prompts may be done by, by kind.

    BatchInvariant: one place for all sizes of step, with its safe kernel, which splits no sum.
    """
    own = recipe.backend == "native"
    made = (
        *_any_step(spec, recipe),
        *(place for kind in spec.kinds for place in attention_places(spec, kind, recipe)),
        *(
            place
            for kind in spec.kinds
            if kind.name in libraries
            for place in prompt_places(spec, kind, recipe, libraries[kind.name])
        ),
        *(_linears(spec, recipe) if own else ()),
        *head_places(spec, recipe),
    )
    if not invariant(recipe):
        return made
    return tuple(replace(place, candidates=place.candidates[:1]) for place in made)


def _linears(spec: ModelSpec, recipe: Recipe) -> tuple[Place, ...]:
    """What the native backend does beside attention."""
    return (
        *_fused(spec, recipe),
        *_block(spec, recipe),
        *_quantised(spec, recipe),
        *_static(spec, recipe),
    )


def weight_type(recipe: Recipe) -> WeightType:
    """The type of a linear's weight, as kernels name it."""
    return "bf16" if recipe.quantization.algorithm == QuantizationAlgorithm.NONE else "fp8e4nv"


def _any_step(spec: ModelSpec, recipe: Recipe) -> list[Place]:
    multiplier = 1.0 if spec.embedding_scale is None else _rounded(spec.embedding_scale)
    shape = embed.Shape(spec.hidden_size, multiplier, recipe.architecture)
    kernels = [embed.kernel(shape, choice) for choice in embed.choices(shape)]
    # Kinds differ in what is attended to, not in what is appended.
    heads = attention_shape(spec, spec.kinds[0], recipe)
    append = [rope_append.kernel(heads, choice) for choice in rope_append.choices(heads)]
    last = recipe.limits.max_num_tokens
    made = [_place("embed", 1, last, kernels), _place("rope_append", 1, last, append)]
    if spec.output_norms and recipe.backend == "native":
        rows = norm_residual.Shape(spec.hidden_size, spec.norm_eps, recipe.architecture)
        added = [norm_residual.kernel(rows, choice) for choice in norm_residual.choices(rows)]
        names = ("attention_residual", "mlp_residual")
        made += [_place(name, 1, last, added) for name in names]
    return made


def _fused(spec: ModelSpec, recipe: Recipe) -> list[Place]:
    kind, arch, eps = weight_type(recipe), recipe.architecture, spec.norm_eps
    hidden, inner = spec.hidden_size, spec.intermediate_size
    qkv = norm_linear.Shape(spec.q_size + 2 * spec.kv_size, hidden, eps, kind, spec.qkv_bias)
    added = not spec.output_norms
    dense = linear_residual.Shape(hidden, spec.q_size, kind, spec.dense_bias, added)
    gate_up = norm_gate_up.Shape(inner, hidden, eps, kind, spec.activation)
    down = linear_residual.Shape(hidden, inner, kind, residual=added)
    linears: tuple[tuple[str, Any, Any, int], ...] = (
        ("qkv", norm_linear, qkv, qkv.rows),
        ("dense", linear_residual, dense, hidden),
        ("gate_up", norm_gate_up, gate_up, 2 * inner),
        ("down", linear_residual, down, hidden),
    )
    return [
        Place(name, first, last, tiled(op, shape, rows, last, arch))
        for first, last in step_ranges(recipe, step_classes(spec, recipe).fused)
        for name, op, shape, rows in linears
    ]


def _block(spec: ModelSpec, recipe: Recipe) -> list[Place]:
    arch, eps = recipe.architecture, spec.norm_eps
    hidden, inner = spec.hidden_size, spec.intermediate_size
    qkv = block_linear.Shape(spec.q_size + 2 * spec.kv_size, hidden, eps)
    dense = block_linear_residual.Shape(hidden, spec.q_size, attention_columns(spec))
    gate_up = block_gate_up.Shape(inner, hidden, eps, spec.activation)
    down = block_linear_residual.Shape(hidden, inner)
    linears: tuple[tuple[str, Any, Any, int], ...] = (
        ("block_qkv", block_linear, qkv, qkv.rows),
        ("block_dense", block_linear_residual, dense, hidden),
        ("block_gate_up", block_gate_up, gate_up, 2 * inner),
        ("block_down", block_linear_residual, down, hidden),
    )
    made = []
    # One token is no matter of blocks.
    for first, last in ranges(step_classes(spec, recipe).block)[1:]:
        entry = block_input.Shape(hidden)
        kernels = [
            block_input.kernel(entry, choice) for choice in block_input.choices(entry, last, arch)
        ]
        made.append(_place("block_input", first, last, kernels))
        made += [
            Place(name, first, last, tiled(op, shape, rows, last, arch))
            for name, op, shape, rows in linears
        ]
    return made


def _quantised(spec: ModelSpec, recipe: Recipe) -> list[Place]:
    first, last = step_classes(spec, recipe).fused + 1, recipe.limits.max_num_tokens
    if first > last:
        return []
    ends = [end for end in _QUANTISED_ENDS if first <= end < last] + [last]
    return [
        place
        for begin, end in pairwise([first - 1, *ends])
        for place in _quantised_steps(spec, recipe, begin + 1, end)
    ]


def _quantised_steps(spec: ModelSpec, recipe: Recipe, first: int, last: int) -> list[Place]:
    output = Output(recipe.quantization.algorithm, recipe.architecture)
    added, raw = not spec.output_norms, raw_products(spec, recipe, last)
    alone = norm_quantise.Shape(spec.hidden_size, spec.norm_eps, output, delta=False)
    hidden = norm_quantise.Shape(spec.hidden_size, spec.norm_eps, output, added, raw)
    attention = quantise.Shape(spec.q_size, output)
    inner = act_quantise.Shape(spec.intermediate_size, output, spec.activation, raw)
    entry = [norm_quantise.kernel(alone, choice) for choice in norm_quantise.choices(alone)]
    normed = [norm_quantise.kernel(hidden, choice) for choice in norm_quantise.choices(hidden)]
    plain = [quantise.kernel(attention, choice) for choice in quantise.choices(attention)]
    act = [act_quantise.kernel(inner, choice) for choice in act_quantise.choices(inner)]
    return [
        _place("first_quantise", first, last, entry),
        _place("attention_quantise", first, last, plain),
        _place("post_quantise", first, last, normed),
        _place("act_quantise", first, last, act),
        _place("next_quantise", first, last, normed),
    ]


def _static(spec: ModelSpec, recipe: Recipe) -> list[Place]:
    """What decode steps with static scales do beside the library's products."""
    if recipe.quantization.algorithm != QuantizationAlgorithm.FP8 or invariant(recipe):
        return []
    classes = step_classes(spec, recipe)
    shape = static_gate_up.Shape(
        spec.intermediate_size, spec.hidden_size, spec.activation, recipe.architecture
    )
    made = []
    for first, last in ranges(recipe.limits.max_batch_size):
        choices = static_gate_up.choices(shape, last)
        if choices and classes.of(last, decode=True) == "quantised":
            kernels = [static_gate_up.kernel(shape, choice) for choice in choices]
            made.append(_place("static_gate_up", first, last, kernels))
    return made


def raw_products(spec: ModelSpec, recipe: Recipe, size: int) -> bool:
    """Whether the library's products with a scale a token and an output are scaled by who reads
    them, in steps of so many tokens.

    Without scales the library multiplies 75 us where it takes 101 with them (128 tokens, a layer of
    an 8B model on an H200); at 8,192 tokens both are alike, but for down, 10 % slower without.
    A bias, or a norm of the product, would have to come after the scales.
    """
    by_token = recipe.quantization.algorithm == QuantizationAlgorithm.FP8_PER_CHANNEL_PER_TOKEN
    return by_token and size <= _RAW_TOKENS and not (spec.dense_bias or spec.output_norms)


def _rounded(number: float) -> float:
    """The number as bfloat16 holds it: so the families' code keeps its factor."""
    return float(torch.tensor(number, dtype=torch.bfloat16))


def _place(name: str, first: int, last: int, kernels: Sequence[Kernel]) -> Place:
    return Place(name, first, last, tuple(Candidate(kernel) for kernel in kernels))
