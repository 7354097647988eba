"""Fidelity of the programs: every way a step can look, against the eager fake-quantised model.

Relative error of a row of logits: ||engine - reference|| / ||reference - mean(reference)||.
float32: the same formulas in another order; measured 3e-6 to 8e-6 on SmolLM2, 1e-4 let through.
bfloat16: a value is rounded about eight times a layer (two norms, qkv, rope, attention, gated MLP,
two residual additions), each time by up to 2^-8 of itself and by 0.0016 in the mean square, and
roundings add up like a random walk: 2^-8 sqrt(8 layers) is 0.061 for 30 layers, 2.4 times what is
expected. Measured on SmolLM2: 0.014 to 0.034. One layer's down_proj scaled by 1.25 gives 0.08 to
0.97, its o_proj 0.04 to 0.53, but its q_proj only 0.01 to 0.06: what is wrong in one layer alone is
left to the weights' own check; a kernel serves all layers and is wrong in all.
Some models blow roundings up where a sequence begins (SmolLM2's first tokens carry activations a
thousand times the usual): there transformers' own model in bfloat16 is off by 0.04 to 0.13 (worst
row 0.58), where a right engine for another machine was refused with 0.067. So where the formula
is exceeded, the eager model is run in the compute type on the same rows, and 1.25 times its error
is let through (docs/decisions/fidelity-bound.md).
FP8 activations: the reference quantises its own, but where two inputs of a rounding differ by a
hair they may become neighbours on E4M3's coarse grid, and one flip leads to others: at worst the
two are rounded as if apart, each with E4M3's 0.0255. So 0.036 for each of a layer's four inputs,
added like a random walk. Measured on a tiny random model: 0.095 of 0.103; there transformers in
bfloat16 differs from itself in float32 by 0.125. A scale for each block of a row, whose largest
element is no larger than the row's, rounds no worse than one for the row: the same bounds hold.
FP8 KV cache: the same for a layer's keys and its values, two roundings more. Measured there: 0.056
of 0.074; transformers in bfloat16 differs from itself by 0.055 to 0.069, both with rounded keys and
values.
FP8 queries in the steps of an attention library: the same again, and the weights of the softmax,
which it rounds and the reference does not: two roundings more.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch

from nacelle_builder.gate.fake_quantise import Rounding, Stretch
from nacelle_builder.gate.planned import NONE_PLANNED, PlannedSteps
from nacelle_builder.gate.reference import Reference
from nacelle_builder.gate.steps import Phase, Span, block_tables, phase, step_input
from nacelle_builder.numerics import StepClasses
from nacelle_builder.report import Report
from nacelle_engine.errors import FidelityFailed
from nacelle_engine.limits import Limits
from nacelle_engine.precision import ComputeType
from nacelle_engine.program.launch import NumericsClass
from nacelle_engine.program.program import Program
from nacelle_engine.program.weights import DTYPES

# A single row may stray further from the reference than all rows together.
_ROW_FACTOR = 4.0
# How much further than the eager model in the same type an engine may stray: its roundings are as
# many, but others.
_EAGER_FACTOR = 1.25
# The error of rounding to E4M3, in the mean square (gate/weights.py).
_E4M3_ERROR = 0.0255
# Sequences of a decode step that is no small one for any target.
_MANY = 144


@dataclass(frozen=True)
class Bounds:
    """The largest relative error of a phase's rows together, and of one row."""

    together: float
    row: float

    def widened(self, eager: "Errors") -> "Bounds":
        """These bounds, or what the eager model's own rounding on the same rows explains."""
        return Bounds(
            max(self.together, _EAGER_FACTOR * eager.together),
            max(self.row, _EAGER_FACTOR * eager.row),
        )


@dataclass(frozen=True)
class Errors:
    """The relative error of a phase's rows together, and of the worst row."""

    together: float
    row: float

    @classmethod
    def of(cls, errors: torch.Tensor, norms: torch.Tensor) -> Self:
        """From the norms of the rows' errors and of the rows."""
        return cls(float(errors.norm() / norms.norm()), float((errors / norms).max()))

    def within(self, bounds: Bounds) -> bool:
        """True when both hold; a NaN is within nothing."""
        return self.together <= bounds.together and self.row <= bounds.row


def bounds_of(
    compute_type: ComputeType,
    layers: int,
    *,
    quantised: bool = False,
    fp8_cache: bool = False,
    fp8_queries: bool = False,
) -> Bounds:
    """What rounding in the compute type explains, and that of activations, cache and queries."""
    together = 1e-4
    if compute_type == ComputeType.BFLOAT16:
        together = 2.0**-8 * math.sqrt(8 * layers)
    roundings = (4 * quantised + 2 * fp8_cache + 2 * fp8_queries) * layers
    together = math.hypot(together, math.sqrt(2) * _E4M3_ERROR * math.sqrt(roundings))
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
    reference: Reference,
    roundings: Mapping[NumericsClass, Rounding],
    ids: Sequence[int],
    classes: StepClasses,
    limits: Limits,
    report: Report,
    planned: PlannedSteps = NONE_PLANNED,
) -> None:
    """Run every phase; FidelityFailed names the first whose logits are not the reference's.

    roundings: what the steps of each numerics class round; classes: which step is of which;
    planned: the steps that a library attends in.
    """
    signature = program.signature
    prompts = planned.phases(limits)
    every = (*phases(limits), *prompts)
    for number, item in enumerate(every):
        numerics = [_class(spans, classes) for spans in item.steps]
        quantised = any(one != "fused" for one in numerics)
        bounds = bounds_of(
            signature.compute_type,
            len(signature.layers),
            quantised=quantised,
            fp8_cache=any(rounding.kv for rounding in roundings.values()),
            fp8_queries=planned.fp8_queries and item in prompts,
        )
        sequences = _sequences(item, ids, number)
        stretches = [
            [
                Stretch(span.count, planned.rounding(spans, roundings[one]))
                for one, spans in zip(numerics, item.steps, strict=True)
                for span in spans
                if span.sequence == index
            ]
            for index in range(len(sequences))
        ]
        expected = _eager_logits(reference, sequences, stretches)
        found = _sequences_errors(program, sequences, item, expected)
        if not found.within(bounds) and signature.compute_type != ComputeType.FLOAT32:
            eager = reference.computed_in(DTYPES[signature.compute_type])
            rounded = _eager_logits(eager, sequences, stretches)
            bounds = bounds.widened(_eager_errors(rounded, expected))
        if not found.within(bounds):
            raise FidelityFailed(f"{item.name}: {_difference(found, bounds)}")
        told = f"{item.name}: error {found.together:.2g}, at most {bounds.together:.2g}"
        report(100 * (number + 1) // len(every), told)


def _difference(found: Errors, bounds: Bounds) -> str:
    return (
        f"the compiled programs' logits differ from the eager reference's by {found.together:.4f} "
        f"of their norm (worst row {found.row:.4f}); rounding explains at most "
        f"{bounds.together:.4f} ({bounds.row:.4f}): a kernel computes something else"
    )


def _class(spans: Sequence[Span], classes: StepClasses) -> NumericsClass:
    tokens = sum(span.count for span in spans)
    return classes.of(tokens, decode=tokens == len(spans))


def _sequences(item: Phase, ids: Sequence[int], number: int) -> list[list[int]]:
    """Different stretches of the text for each phase and sequence; the text repeats at its end."""
    starts = [(number * 211 + sequence * 97) for sequence in range(item.sequences)]
    return [
        [ids[(start + n) % len(ids)] for n in range(item.length(sequence))]
        for sequence, start in enumerate(starts)
    ]


def _sequences_errors(
    program: Program, sequences: list[list[int]], item: Phase, expected: Sequence[torch.Tensor]
) -> Errors:
    """How far the program's rows are from the reference's, in the order in which steps run them."""
    tables = block_tables([len(sequence) for sequence in sequences])
    program.allocate_kv(1 + sum(len(table) for table in tables))
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
    return Errors.of(torch.cat(errors), torch.cat(norms))


def _eager_logits(
    eager: Reference, sequences: list[list[int]], stretches: Sequence[Sequence[Stretch]]
) -> list[torch.Tensor]:
    """The eager model's logits [tokens, vocab] of each sequence, rounded as its steps round."""
    return [
        eager.logits(torch.tensor([sequence]), parts)[0]
        for sequence, parts in zip(sequences, stretches, strict=True)
    ]


def _eager_errors(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> Errors:
    """How far the eager model itself is off when it computes in the engine's type."""
    rows, wanted = torch.cat(list(found)), torch.cat(list(expected))
    centred = wanted - wanted.mean(1, keepdim=True)
    return Errors.of(
        torch.linalg.vector_norm(rows - wanted, dim=1), torch.linalg.vector_norm(centred, dim=1)
    )
