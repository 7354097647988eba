"""The places of a GPU's program where a kernel stands, each with what could serve it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from nacelle_builder.numerics import fused_tokens
from nacelle_engine.arch import Architecture
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.ops.gpu import (
    act_quantise,
    decode_attention,
    embed,
    linear_residual,
    norm_gate_up,
    norm_linear,
    norm_logits,
    norm_quantise,
    prefill_attention,
    quantise,
    rope_append,
)
from nacelle_engine.ops.gpu.attention_shape import AttentionShape
from nacelle_engine.ops.gpu.fp8 import Output
from nacelle_engine.ops.gpu.kernel import Kernel
from nacelle_engine.ops.gpu.tiling import WeightType
from nacelle_engine.precision import Fp8OrNone, QuantizationAlgorithm
from nacelle_engine.recipe import Recipe

# Sizes of steps (and of batches, and of rows of logits) that kernels are chosen for.
_ENDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class Candidate:
    """One kernel for a place, and what it needs beside it.

    query_tile  tokens a tile of queries covers, for attention over prompts
    partial     float32 elements of workspace
    counters    int32 elements of workspace that are 0 between launches
    """

    kernel: Kernel
    query_tile: int = 0
    partial: int = 0
    counters: int = 0


@dataclass(frozen=True)
class Place:
    """A place of the program for steps of first to last tokens (or rows); the safe kernel first."""

    name: str
    first: int
    last: int
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class Chosen:
    """A place and the candidate that serves it."""

    place: Place
    candidate: Candidate


def ranges(limit: int, *, last: int = _ENDS[-1]) -> tuple[tuple[int, int], ...]:
    """(first, last) of ranges that cover 1 to `limit` without a gap, finer for smaller steps."""
    ends = [end for end in _ENDS if end < min(limit, last)] + [limit]
    return tuple((before + 1, end) for before, end in pairwise([0, *ends]))


def places(spec: ModelSpec, recipe: Recipe) -> tuple[Place, ...]:
    """Every place of the program."""
    return (
        *_any_step(spec, recipe),
        *_attention(spec, recipe),
        *_fused(spec, recipe),
        *_quantised(spec, recipe),
        *_logits(spec, recipe),
    )


def weight_type(recipe: Recipe) -> WeightType:
    """The type of a linear's weight, as kernels name it."""
    return "bf16" if recipe.quantization.algorithm == QuantizationAlgorithm.NONE else "fp8e4nv"


def _any_step(spec: ModelSpec, recipe: Recipe) -> list[Place]:
    shape = embed.Shape(spec.hidden_size, architecture=recipe.architecture)
    kernels = [embed.kernel(shape, choice) for choice in embed.choices(shape)]
    return [_place("embed", 1, recipe.limits.max_num_tokens, kernels)]


def _attention(spec: ModelSpec, recipe: Recipe) -> list[Place]:
    shape = AttentionShape(
        heads=spec.num_heads,
        kv_heads=spec.num_kv_heads,
        head_dim=spec.head_dim,
        fp8=recipe.quantization.kv_cache == Fp8OrNone.FP8,
        architecture=recipe.architecture,
    )
    limits = recipe.limits
    made = [
        Place("decode_attention", first, last, _decode(shape, last))
        for first, last in ranges(limits.max_batch_size)
    ]
    prefill = tuple(
        Candidate(
            prefill_attention.kernel(shape, choice),
            query_tile=prefill_attention.block_q(shape, choice),
        )
        for choice in prefill_attention.choices(shape)
    )
    append = [rope_append.kernel(shape, choice) for choice in rope_append.choices(shape)]
    made.append(Place("prefill_attention", 1, limits.max_num_tokens, prefill))
    made.append(_place("rope_append", 1, limits.max_num_tokens, append))
    return made


def _decode(shape: AttentionShape, requests: int) -> tuple[Candidate, ...]:
    made = []
    for choice in decode_attention.choices(shape, requests):
        partial, counters = decode_attention.workspace(shape, choice, requests)
        kernel = decode_attention.kernel(shape, choice)
        made.append(Candidate(kernel, partial=partial, counters=counters))
    return tuple(made)


def _fused(spec: ModelSpec, recipe: Recipe) -> list[Place]:
    kind, arch, eps = weight_type(recipe), recipe.architecture, spec.norm_eps
    hidden, inner = spec.hidden_size, spec.intermediate_size
    qkv = norm_linear.Shape(spec.q_size + 2 * spec.kv_size, hidden, eps, kind)
    dense = linear_residual.Shape(hidden, spec.q_size, kind)
    gate_up = norm_gate_up.Shape(inner, hidden, eps, kind, spec.activation)
    down = linear_residual.Shape(hidden, inner, kind)
    linears: tuple[tuple[str, Any, Any, int], ...] = (
        ("qkv", norm_linear, qkv, qkv.rows),
        ("dense", linear_residual, dense, hidden),
        ("gate_up", norm_gate_up, gate_up, 2 * inner),
        ("down", linear_residual, down, hidden),
    )
    return [
        Place(name, first, last, _tiled(op, shape, rows, last, arch))
        for first, last in ranges(fused_tokens(recipe))
        for name, op, shape, rows in linears
    ]


def _tiled(
    op: Any, shape: Any, rows: int, size: int, architecture: Architecture
) -> tuple[Candidate, ...]:
    """A linear op's candidates for steps of `size`; `rows` counts the weight's."""
    made = []
    for tiling in op.choices(shape, size, architecture):
        partial, counters = tiling.slots(rows, size)
        made.append(Candidate(op.kernel(shape, tiling), partial=partial, counters=counters))
    return tuple(made)


def _quantised(spec: ModelSpec, recipe: Recipe) -> list[Place]:
    first, last = fused_tokens(recipe) + 1, recipe.limits.max_num_tokens
    if first > last:
        return []
    output = Output(recipe.quantization.algorithm, recipe.architecture)
    hidden = norm_quantise.Shape(spec.hidden_size, spec.norm_eps, output)
    attention = quantise.Shape(spec.q_size, output)
    inner = act_quantise.Shape(spec.intermediate_size, output, spec.activation)
    normed = [norm_quantise.kernel(hidden, choice) for choice in norm_quantise.choices(hidden)]
    plain = [quantise.kernel(attention, choice) for choice in quantise.choices(attention)]
    act = [act_quantise.kernel(inner, choice) for choice in act_quantise.choices(inner)]
    return [
        _place("input_quantise", first, last, normed),
        _place("attention_quantise", first, last, plain),
        _place("post_quantise", first, last, normed),
        _place("act_quantise", first, last, act),
    ]


def _logits(spec: ModelSpec, recipe: Recipe) -> list[Place]:
    kind: WeightType = "fp8e4nv" if recipe.quantization.lm_head == Fp8OrNone.FP8 else "bf16"
    shape = norm_logits.Shape(spec.vocab_size, spec.hidden_size, spec.norm_eps, kind)
    made = []
    for first, last in ranges(recipe.limits.max_num_tokens, last=256):
        candidates = _tiled(norm_logits, shape, spec.vocab_size, last, recipe.architecture)
        made.append(Place("logits", first, last, candidates))
    return made


def _place(name: str, first: int, last: int, kernels: Sequence[Kernel]) -> Place:
    return Place(name, first, last, tuple(Candidate(kernel) for kernel in kernels))
