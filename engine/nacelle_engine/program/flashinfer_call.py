"""FlashInfer's argument lists: what its planners and kernels of each algorithm take, in order."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nacelle_engine.limits import TOKENS_PER_BLOCK
from nacelle_engine.program.attention_library import AttentionLibrary
from nacelle_engine.program.attention_plan import Int32s, PlanArrays

# FlashInfer's codes of the layout [pages, kv_heads, page, head_dim] and of the causal mask.
_HND, _CAUSAL = 1, 1
_NO_WINDOW = -1
# No fixed length of a cache's parts, splitting allowed, no kernel beside that takes programs.
_SPLIT = (-1, False, 0)


@dataclass(frozen=True)
class Captured:
    """A step inside a CUDA graph: its rows of queries; decode: exactly one a request, always."""

    tokens: int
    decode: bool


@dataclass(frozen=True)
class Layer:
    """One layer's arguments; tensors may be slices of larger ones.

    q            bfloat16 (fa3 with an FP8 cache: FP8) [T, heads, D], rows and heads at any stride
    kv           [blocks, 2, kv_heads, 32, D], K at index 0
    block_table  int32 [R, W], contiguous
    out          bfloat16 [T, heads, D], contiguous
    scale        what q . k is multiplied by
    soft_cap     x becomes soft_cap * tanh(x / soft_cap); 0 without
    kv_scales    float32 [2] of an FP8 cache: stored = value / scale
    q_scale      float32 [1] of FP8 queries
    """

    q: torch.Tensor
    kv: torch.Tensor
    block_table: torch.Tensor
    out: torch.Tensor
    scale: float
    soft_cap: float = 0.0
    kv_scales: torch.Tensor | None = None
    q_scale: torch.Tensor | None = None


@dataclass(frozen=True)
class Placed:
    """Arrays of a planned step that the kernels read, on the device; all int32."""

    q_start: torch.Tensor
    rows: torch.Tensor
    last_page: torch.Tensor


def window_left(library: AttentionLibrary, window: int | None) -> int:
    """Tokens seen before a query's own, of `window` in all; ValueError if compiled otherwise."""
    if library.sliding_window != (window is not None):
        known = "with" if library.sliding_window else "without"
        raise ValueError(f"window {window}: {library.name} was compiled {known} a sliding window")
    return _NO_WINDOW if window is None else window - 1


def check_step(library: AttentionLibrary, step: PlanArrays, captured: Captured | None) -> None:
    """Raise ValueError when the step is none of those that the kernels or the graph run."""
    decode = library.algorithm == "decode" or (captured is not None and captured.decode)
    if decode and not bool((np.diff(step.q_start) == 1).all()):
        raise ValueError("q_start: decode takes exactly one query a request")
    if captured and step.tokens > captured.tokens:
        raise ValueError(f"q_start: {step.tokens} tokens in a graph of {captured.tokens}")


def plan_arguments(
    library: AttentionLibrary, heads: int, step: PlanArrays, captured: Captured | None, left: int
) -> tuple[Any, ...]:
    """What a planner takes after its three workspaces."""
    dim, graph = library.head_dim, captured is not None
    sizes = (step.requests, heads, heads // library.group_size, TOKENS_PER_BLOCK, graph)
    pages = _tensor(step.pages)
    if library.algorithm == "decode":
        # The soft cap, and two tensors that the planner takes and never reads.
        return (pages, *sizes, left, 0.0, dim, dim, pages, pages)
    fa3 = library.algorithm == "fa3"
    starts = _tensor(step.rows) if fa3 else pages
    total = captured.tokens if captured else step.tokens
    arguments = (
        _tensor(step.q_start), starts, _tensor(step.seq_lens), total, *sizes, dim, dim, True, left,
    )  # fmt: skip
    if fa3:
        return arguments
    return (*arguments, *_SPLIT, 1 if captured and captured.decode else 0)


def run_arguments(
    library: AttentionLibrary, placed: Placed, layer: Layer, left: int, dependent: bool
) -> tuple[Any, ...]:
    """What a kernel takes after its two workspaces and its plan."""
    decode = library.algorithm == "decode"
    lse = None
    return (
        layer.q, layer.kv[:, 0], layer.kv[:, 1],
        *(() if decode else (placed.q_start,)), placed.rows, layer.block_table, placed.last_page,
        layer.out, lse, *(() if decode else (_CAUSAL,)), _HND, left, dependent,
        layer.kv_scales, layer.q_scale, layer.scale, layer.soft_cap,
    )  # fmt: skip


def _tensor(array: Int32s) -> torch.Tensor:
    return torch.from_numpy(array)
