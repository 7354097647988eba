"""A step of answers beside long prompts, as two: each half goes through launches made for it."""

from math import gcd
from typing import Final

import numpy as np

from nacelle_engine.program.launch import LaunchList
from nacelle_engine.program.step import StepInput

# Fewer answers cost a planned step less than their weights, read once more for a step of their own:
# an H200 took 0.16 ms for each beside 8,192 tokens of prompts, and 2.7 ms for a decode step of 16.
LEAST_ANSWERS: Final = 16
# Kernels take it that the others' logits, of four bytes each, begin at a multiple of 16.
_ALIGNED: Final = 4


def answers_apart(step: StepInput, launches: LaunchList, vocabulary: int) -> int:
    """How many of the first requests are better run as a decode step, before the others; 0: none.

    So where they have a token each whose logits are wanted, and a library attends to the others: it
    takes a whole tile of queries for one of them.
    """
    alone = np.diff(step.q_start.numpy()) == 1
    if alone.all():
        return 0  # a decode step, or one of chunks that leave nothing behind
    rows = step.logits_rows.numpy()
    first = min(int(alone.argmin()), len(rows))
    drawn = rows[:first] == np.arange(first)
    count = first if drawn.all() else int(drawn.argmin())
    count -= count % (_ALIGNED // gcd(_ALIGNED, vocabulary))
    if count < LEAST_ANSWERS:
        return 0
    tokens, requests = len(step.token_ids) - count, len(step.seq_lens) - count
    others = launches.steps[launches.step_index(tokens, decode=False, requests=requests)]
    return count if others.planned else 0


def split(step: StepInput, count: int) -> tuple[StepInput, StepInput]:
    """The first `count` requests, a token and a row of logits each, and all others."""
    first = StepInput(
        token_ids=step.token_ids[:count],
        positions=step.positions[:count],
        slots=step.slots[:count],
        q_start=step.q_start[: count + 1],
        block_tables=tuple(table[:count] for table in step.block_tables),
        seq_lens=step.seq_lens[:count],
        logits_rows=step.logits_rows[:count],
    )
    others = StepInput(
        token_ids=step.token_ids[count:],
        positions=step.positions[count:],
        slots=step.slots[count:],
        q_start=step.q_start[count:] - count,
        block_tables=tuple(table[count:] for table in step.block_tables),
        seq_lens=step.seq_lens[count:],
        logits_rows=step.logits_rows[count:] - count,
    )
    return first, others
