"""Fidelity of the programs: every way a step can look, against the eager fake-quantised model.

Relative error of a row of logits: ||engine - reference|| / ||reference - mean(reference)||.
float32: the same formulas in another order; measured 3e-6 to 8e-6 on SmolLM2, 1e-4 let through.
bfloat16: a value is rounded about eight times a layer (two norms, qkv, rope, attention, gated MLP,
two residual additions), each time by up to 2^-8 of itself and by 0.0016 in the mean square, and
roundings add up like a random walk: 2^-8 sqrt(8 layers) is 0.061 for 30 layers, 2.4 times what is
expected. Measured on SmolLM2: 0.014 to 0.034. One layer's down_proj scaled by 1.25 gives 0.08 to
0.97, its o_proj 0.04 to 0.53, but its q_proj only 0.01 to 0.06: what is wrong in one layer alone is
left to the weights' own check; a kernel serves all layers and is wrong in all.
FP8 activations: the reference quantises its own, but where two inputs of a rounding differ by a
hair they may become neighbours on E4M3's coarse grid, and one flip leads to others: at worst the
two are rounded as if apart, each with E4M3's 0.0255. So 0.036 for each of a layer's four inputs,
added like a random walk. Measured on a tiny random model: 0.095 of 0.103; there transformers in
bfloat16 differs from itself in float32 by 0.125.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from nacelle_builder.gate.reference import Reference
from nacelle_builder.gate.steps import Phase, block_tables, phase, step_input
from nacelle_builder.numerics import quantises
from nacelle_builder.report import Report
from nacelle_engine.errors import FidelityFailed
from nacelle_engine.limits import Limits
from nacelle_engine.precision import ComputeType
from nacelle_engine.program.program import Program
from nacelle_engine.recipe import Recipe

# A single row may stray further from the reference than all rows together.
_ROW_FACTOR = 4.0
# The error of rounding to E4M3, in the mean square (gate/weights.py).
_E4M3_ERROR = 0.0255
# Sequences of a decode step that is no small one for any target.
_MANY = 144


@dataclass(frozen=True)
class Bounds:
    """The largest relative error of a phase's rows together, and of one row."""

    together: float
    row: float


def bounds_of(compute_type: ComputeType, layers: int, *, quantised: bool = False) -> Bounds:
    """What rounding in the compute type explains, and that of quantised activations."""
    together = 1e-4
    if compute_type == ComputeType.BFLOAT16:
        together = 2.0**-8 * math.sqrt(8 * layers)
    if quantised:
        together = math.hypot(together, math.sqrt(2) * _E4M3_ERROR * math.sqrt(4 * layers))
    return Bounds(together, _ROW_FACTOR * together)


def phases(limits: Limits) -> tuple[Phase, ...]:
    """The ways of running that the programs are checked in, cut to the engine's limits."""
    one = [1] * 4
    many = _MANY if limits.max_batch_size >= _MANY else 0
    every = (
        phase("prefill in one step", [[160]], limits),
        phase("prefill in chunks", [[33, 1, 40, 26]], limits),
        phase("decode of 1 sequence", [[30, *one]], limits),
        phase("decode of 4 sequences", [[5, *one], [17, *one], [30, *one], [40, *one]], limits),
        phase("decode of 16 sequences", [[2 + n % 3, 1, 1] for n in range(16)], limits),
        phase(
            "prefill and decode mixed",
            [[20, 1, 1, 1], [0, 33, 30, 1], [7, 0, 1, 25], [0, 0, 64, 1]],
            limits,
        ),
    )
    return (
        (*every, phase(f"decode of {many} sequences", [[2, 1]] * many, limits)) if many else every
    )


def check_programs(
    program: Program,
    references: Mapping[bool, Reference],
    ids: Sequence[int],
    recipe: Recipe,
    report: Report,
) -> None:
    """Run every phase; FidelityFailed names the first whose logits are not the reference's.

    references: for steps whose activations are quantised on the way (True), and for the others.
    """
    signature = program.signature
    every = phases(recipe.limits)
    for number, item in enumerate(every):
        quantised = quantises(recipe, item.most_tokens)
        bounds = bounds_of(signature.compute_type, len(signature.layers), quantised=quantised)
        sequences = _sequences(item, ids, number)
        error = _check_phase(program, references[quantised], sequences, item, bounds)
        found = f"{item.name}: error {error:.2g}, at most {bounds.together:.2g}"
        report(100 * (number + 1) // len(every), found)


def _sequences(item: Phase, ids: Sequence[int], number: int) -> list[list[int]]:
    """Different stretches of the text for each phase and sequence; the text repeats at its end."""
    starts = [(number * 211 + sequence * 97) for sequence in range(item.sequences)]
    return [
        [ids[(start + n) % len(ids)] for n in range(item.length(sequence))]
        for sequence, start in enumerate(starts)
    ]


def _check_phase(
    program: Program,
    reference: Reference,
    sequences: list[list[int]],
    item: Phase,
    bounds: Bounds,
) -> float:
    tables = block_tables([len(sequence) for sequence in sequences])
    program.allocate_kv(1 + sum(len(table) for table in tables))
    expected = [reference.logits(torch.tensor([sequence]))[0] for sequence in sequences]
    errors, norms = [], []
    for spans in item.steps:
        step = step_input(spans, sequences, tables, len(program.signature.kv_groups))
        wanted = torch.cat([expected[s.sequence][s.start : s.start + s.count] for s in spans])
        try:
            found = program.run(step).to(wanted.device, torch.float32)
        except ValueError as error:
            raise FidelityFailed(f"{item.name}: the programs refuse a step: {error}") from error
        errors.append(torch.linalg.vector_norm(found - wanted, dim=1))
        norms.append(torch.linalg.vector_norm(wanted - wanted.mean(1, keepdim=True), dim=1))
    return _judge(item.name, torch.cat(errors), torch.cat(norms), bounds)


def _judge(name: str, errors: torch.Tensor, norms: torch.Tensor, bounds: Bounds) -> float:
    together = float(errors.norm() / norms.norm())
    row = float((errors / norms).max())
    # "not <=" so that NaN fails.
    if not together <= bounds.together or not row <= bounds.row:
        raise FidelityFailed(
            f"{name}: the compiled programs' logits differ from the eager reference's by "
            f"{together:.4f} of their norm (worst row {row:.4f}); rounding explains at most "
            f"{bounds.together:.4f} ({bounds.row:.4f}): a kernel computes something else"
        )
    return together
