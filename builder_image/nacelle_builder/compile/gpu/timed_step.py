"""The step that a kernel is timed with."""

import torch

from nacelle_engine.program.signature import Signature
from nacelle_engine.program.step import StepInput


def timed_step(size: int, signature: Signature, context: int, *, decode: bool) -> StepInput:
    """`size` requests of one token after `context` others, or `size` tokens of new prompts.

    Everything is cut to the engine's limits; a prompt is as long as the context, and the logits of
    every token are wanted.
    """
    length = min(context, signature.max_seq_len)
    counts = [1] * size if decode else _prompts(size, length, signature.max_batch_size)
    size = sum(counts)
    starts = [length - 1] * size if decode else [0] * len(counts)
    block = signature.tokens_per_block
    width = -(-length // block)
    tables = 1 + torch.arange(len(counts) * width, dtype=torch.int32).view(-1, width)
    positions = [torch.arange(s, s + n) for s, n in zip(starts, counts, strict=True)]
    slots = [
        table[p // block].long() * block + p % block
        for table, p in zip(tables, positions, strict=True)
    ]
    ends = torch.tensor(counts).cumsum(0)
    return StepInput(
        token_ids=torch.arange(size) % signature.vocab_size,
        positions=torch.cat(positions),
        slots=torch.cat(slots),
        q_start=torch.cat((torch.zeros(1), ends)).int(),
        block_tables=(tables,) * len(signature.kv_groups),
        seq_lens=torch.tensor([s + n for s, n in zip(starts, counts, strict=True)]).int(),
        logits_rows=torch.arange(size),
    )


def _prompts(tokens: int, length: int, most: int) -> list[int]:
    """Lengths of at most `most` prompts that have so many tokens together, where they can."""
    counts: list[int] = []
    while tokens and len(counts) < most:
        counts.append(min(tokens, length))
        tokens -= counts[-1]
    return counts
