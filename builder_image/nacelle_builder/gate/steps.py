"""Steps for a program out of plain sequences: which tokens run when, and where their cache lies."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from nacelle_engine.limits import TOKENS_PER_BLOCK, Limits
from nacelle_engine.program.step import StepInput


@dataclass(frozen=True)
class Span:
    """`count` tokens of a sequence from `start` on, run in one step."""

    sequence: int
    start: int
    count: int


@dataclass(frozen=True)
class Phase:
    """A way of running sequences, by name: steps of spans, each sequence from its first token."""

    name: str
    steps: tuple[tuple[Span, ...], ...]

    def length(self, sequence: int) -> int:
        """How many of a sequence's tokens all steps run together."""
        return sum(s.count for step in self.steps for s in step if s.sequence == sequence)

    @property
    def most_tokens(self) -> int:
        """Tokens of the largest step."""
        return max(sum(span.count for span in step) for step in self.steps)

    @property
    def sequences(self) -> int:
        """How many sequences take part."""
        return 1 + max(span.sequence for step in self.steps for span in step)


def phase(name: str, counts: Sequence[Sequence[int]], limits: Limits) -> Phase:
    """The phase in which sequence i runs counts[i][k] tokens in step k, cut to the limits."""
    done = [0] * min(len(counts), limits.max_batch_size)
    steps = []
    for column in zip(*counts[: len(done)], strict=True):
        spans, room = [], limits.max_num_tokens
        for sequence, wanted in enumerate(column):
            count = min(wanted, room, limits.max_seq_len - done[sequence])
            if count > 0:
                spans.append(Span(sequence, done[sequence], count))
                done[sequence] += count
                room -= count
        if spans:
            steps.append(tuple(spans))
    return Phase(name, tuple(steps))


def prefill(name: str, lengths: Sequence[int], limits: Limits) -> Phase:
    """The phase that runs whole sequences in steps as full as the limits allow."""
    steps, left = [], [(sequence, 0) for sequence in range(len(lengths))]
    while left:
        spans: list[Span] = []
        room = limits.max_num_tokens
        while left and room and len(spans) < limits.max_batch_size:
            sequence, start = left.pop(0)
            count = min(lengths[sequence] - start, room)
            spans.append(Span(sequence, start, count))
            room -= count
            if start + count < lengths[sequence]:
                left.insert(0, (sequence, start + count))
        steps.append(tuple(spans))
    return Phase(name, tuple(steps))


def blocks_needed(length: int) -> int:
    """Blocks that a sequence of that many tokens fills."""
    return -(-length // TOKENS_PER_BLOCK)


def block_tables(lengths: Sequence[int]) -> list[list[int]]:
    """A table a sequence, dealt out in turn and backwards, so that no blocks lie in a row."""
    needed = [blocks_needed(length) for length in lengths]
    free = list(range(1, sum(needed) + 1))
    tables: list[list[int]] = [[] for _ in lengths]
    for turn in range(max(needed, default=0)):
        for table, wanted in zip(tables, needed, strict=True):
            if turn < wanted:
                table.append(free.pop())
    return tables


def step_input(
    spans: Sequence[Span], ids: Sequence[Sequence[int]], tables: Sequence[list[int]], groups: int
) -> StepInput:
    """The step that runs `spans`, with logits of every token; all KV groups share the tables."""
    positions = [p for s in spans for p in range(s.start, s.start + s.count)]
    rows = [s.sequence for s in spans for _ in range(s.count)]
    slots = [
        tables[row][p // TOKENS_PER_BLOCK] * TOKENS_PER_BLOCK + p % TOKENS_PER_BLOCK
        for row, p in zip(rows, positions, strict=True)
    ]
    ends = torch.tensor([s.count for s in spans]).cumsum(0)
    width = max(len(tables[s.sequence]) for s in spans)
    table = [tables[s.sequence] + [0] * (width - len(tables[s.sequence])) for s in spans]
    return StepInput(
        token_ids=torch.tensor([ids[r][p] for r, p in zip(rows, positions, strict=True)]),
        positions=torch.tensor(positions),
        slots=torch.tensor(slots),
        q_start=torch.cat([torch.zeros(1, dtype=torch.int64), ends]).to(torch.int32),
        block_tables=tuple(torch.tensor(table, dtype=torch.int32) for _ in range(groups)),
        seq_lens=torch.tensor([s.start + s.count for s in spans], dtype=torch.int32),
        logits_rows=torch.arange(len(positions)),
    )
