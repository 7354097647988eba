"""BatchInvariant's promise: a token's logits are the same bits in whatever step it is computed."""

from collections.abc import Sequence

import torch

from nacelle_builder.gate.steps import Phase, block_tables, phase, step_input
from nacelle_engine.errors import FidelityFailed
from nacelle_engine.limits import Limits
from nacelle_engine.program.program import Program


def ways(limits: Limits) -> tuple[Phase, ...]:
    """Ways in which the same first sequence is run, cut to the engine's limits."""
    many = [[3 + n, *[1] * 22] for n in range(14)]
    return (
        phase("as one prompt", [[80]], limits),
        phase("in chunks, then token by token", [[33, 1, 29, *[1] * 17]], limits),
        phase("beside others", [[1, 57, *[1] * 22], [40, 0, 20, *[1] * 21]], limits),
        phase("in a large batch", [[58, *[1] * 22], *many], limits),
    )


def check_invariance(program: Program, ids: Sequence[int], limits: Limits) -> None:
    """Compare every way's bits with the first's; FidelityFailed names the token and the two."""
    first, *others = ways(limits)
    wanted = _rows(program, first, ids)
    for way in others:
        found = _rows(program, way, ids)
        shared = min(len(found), len(wanted))
        unequal = (found[:shared] != wanted[:shared]).any(1).nonzero()
        if len(unequal):
            raise FidelityFailed(
                f"determinism BatchInvariant: token {int(unequal[0])} of a sequence has other "
                f"logits {way.name} than {first.name}"
            )


def _rows(program: Program, way: Phase, ids: Sequence[int]) -> torch.Tensor:
    """The logits of the first sequence's tokens."""
    sequences = [
        [ids[(97 * sequence + place) % len(ids)] for place in range(way.length(sequence))]
        for sequence in range(way.sequences)
    ]
    tables = block_tables([len(sequence) for sequence in sequences])
    program.allocate_kv(1 + sum(len(table) for table in tables))
    groups, rows = len(program.signature.kv_groups), []
    for spans in way.steps:
        logits = program.run(step_input(spans, sequences, tables, groups))
        start = 0
        for span in spans:
            if span.sequence == 0:
                rows.append(logits[start : start + span.count].clone())
            start += span.count
    return torch.cat(rows)
