"""Which kernel each linear uses for each range of tokens: timed on the machine that builds.

Timed is the CPU time of one thread: builder pods share their node, and a wall clock there measures
the neighbours.

A tactic is {first T, candidate, next first T, candidate, ...}, baked into the layer's program.
Candidate 0 ("fused") is our kernel, which never lets a row depend on its batch: in bfloat16 that of
tiles where the machine has AMX, else the FMA kernel; 1 ("aten") is torch's linear (oneDNN, MKL).
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from nacelle_engine.arch import Architecture, cpu_flags, missing_flags
from nacelle_engine.frozen import Frozen
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.ops.kernels import eager_kernels
from nacelle_engine.ops.norm_gate_up import SILU
from nacelle_engine.precision import ComputeType, Determinism
from nacelle_engine.program.weights import DTYPES
from nacelle_engine.recipe import Recipe

FUSED, ATEN = 0, 1
CANDIDATES = ("fused", "aten")
LINEARS = ("qkv", "dense", "gate_up", "down")
_FIRST_TOKENS = (1, 2, 4, 8, 16, 32, 64, 256)
# Our kernel is kept unless the other is this much faster: it fuses what surrounds the product.
_MARGIN = 1.15
# Weights are rotated through this much memory, so that none is found in a cache.
_ROTATED_BYTES = 96 * 1024 * 1024


class Timing(Frozen):
    """Microseconds of each candidate for one linear at one number of tokens."""

    linear: str
    tokens: int
    microseconds: dict[str, int]


class Tactics(Frozen):
    """tactics.json: what was chosen and why."""

    reason: str
    chosen: dict[str, tuple[int, ...]]
    timings: tuple[Timing, ...] = ()


def choose_tactics(spec: ModelSpec, recipe: Recipe, kernels: Path) -> Tactics:
    """Time the candidates where there is a choice and this machine can run them."""
    fixed = dict.fromkeys(LINEARS, (1, FUSED))
    if not may_choose(recipe):
        return Tactics(reason="only fused keeps a row's result apart from its batch", chosen=fixed)
    if missing_flags(Architecture(recipe.architecture), cpu_flags()):
        return Tactics(reason="this machine cannot run the target's code", chosen=fixed)
    with eager_kernels(kernels), _one_thread():
        timings = tuple(
            _time(linear, rows, width, tokens, recipe)
            for linear, (rows, width) in _shapes(spec).items()
            for tokens in _FIRST_TOKENS
            if tokens <= recipe.limits.max_num_tokens
        )
    chosen = {name: decide([t for t in timings if t.linear == name]) for name in LINEARS}
    return Tactics(reason="timed on the building machine", chosen=chosen, timings=timings)


def may_choose(recipe: Recipe) -> bool:
    """False where exactness in any batch is promised: float32, and BatchInvariant."""
    return (
        recipe.quantization.compute_type != ComputeType.FLOAT32
        and recipe.determinism != Determinism.BATCH_INVARIANT
    )


def decide(timings: Sequence[Timing]) -> tuple[int, ...]:
    """The tactic from timings in ascending tokens; equal neighbours are joined."""
    choices = [
        (t.tokens, ATEN if t.microseconds["fused"] > _MARGIN * t.microseconds["aten"] else FUSED)
        for t in timings
    ]
    joined = [next(group) for _, group in itertools.groupby(choices, key=lambda choice: choice[1])]
    return tuple(value for choice in joined for value in choice)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _shapes(spec: ModelSpec) -> dict[str, tuple[int, int]]:
    return {
        "qkv": (spec.q_size + 2 * spec.kv_size, spec.hidden_size),
        "dense": (spec.hidden_size, spec.q_size),
        "gate_up": (2 * spec.intermediate_size, spec.hidden_size),
        "down": (spec.hidden_size, spec.intermediate_size),
    }


def _time(linear: str, rows: int, width: int, tokens: int, recipe: Recipe) -> Timing:
    dtype = DTYPES[recipe.quantization.compute_type]
    copies = min(max(_ROTATED_BYTES // (rows * width * dtype.itemsize), 2), 32)
    weights = [torch.randn(rows, width).to(dtype) for _ in range(copies)]
    x, residual = torch.randn(tokens, width).to(dtype), torch.randn(tokens, width)
    norm = torch.ones(width, dtype=dtype)
    ops = torch.ops.nacelle

    def call(weight: torch.Tensor, candidate: int) -> None:
        if linear == "gate_up":
            ops.norm_gate_up(x, residual, norm, weight, 1e-5, SILU, [1, candidate])
        elif linear == "qkv":
            ops.norm_linear(x, residual, norm, weight, None, 1e-5, [1, candidate])
        else:
            ops.linear(x, weight, None, [1, candidate])

    measured = {name: _best(call, weights, candidate) for candidate, name in enumerate(CANDIDATES)}
    return Timing(linear=linear, tokens=tokens, microseconds=measured)


def _best(
    call: Callable[[torch.Tensor, int], None], weights: list[torch.Tensor], candidate: int
) -> int:
    """The quickest of at least three calls and of those that fit 60 ms, in microseconds."""
    best, end = float("inf"), time.thread_time() + 0.06
    for number, weight in enumerate(itertools.cycle(weights)):
        start = time.thread_time()
        if number >= 3 and start > end:
            break
        call(weight, candidate)
        best = min(best, time.thread_time() - start)
    return round(best * 1e6)
