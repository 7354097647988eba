"""Checks of a step against the programs' signature: the compiled code itself checks nothing.

In NumPy, whose calls cost a fraction of torch's on tensors so small: every step waits for them.
"""

import numpy as np
import torch

from nacelle_engine.program.signature import Signature
from nacelle_engine.program.step import StepInput


def check_step(step: StepInput, signature: Signature, blocks: int) -> None:
    """Raise ValueError naming the field when a shape, dtype or index does not fit."""
    tokens, requests = step.token_ids.shape[0], step.seq_lens.shape[0]
    groups = len(signature.kv_groups)
    if not 1 <= tokens <= signature.max_num_tokens:
        raise ValueError(f"token_ids: {tokens} tokens; between 1 and {signature.max_num_tokens}")
    if not 1 <= requests <= signature.max_batch_size:
        raise ValueError(f"seq_lens: {requests} requests; 1 to {signature.max_batch_size}")
    if len(step.block_tables) != groups:
        raise ValueError(f"block_tables: {len(step.block_tables)} tables for {groups} KV groups")
    _expect("token_ids", step.token_ids, torch.int64, (tokens,))
    _expect("positions", step.positions, torch.int64, (tokens,))
    _expect("slots", step.slots, torch.int64, (tokens,))
    _expect("q_start", step.q_start, torch.int32, (requests + 1,))
    _expect("seq_lens", step.seq_lens, torch.int32, (requests,))
    _expect("logits_rows", step.logits_rows, torch.int64, (step.logits_rows.shape[0],))
    size = signature.tokens_per_block
    longest = int(step.seq_lens.numpy().max())
    for table in step.block_tables:
        _expect("block_tables", table, torch.int32, (requests, table.shape[-1]))
        _within("block_tables", table, blocks)
        if longest > table.shape[1] * size:
            raise ValueError(
                f"seq_lens: {longest} tokens do not fit a table of {table.shape[1]} blocks"
            )
    # Ids that a step before left on the device are its own choice among its logits.
    if step.token_ids.device.type == "cpu":
        _within("token_ids", step.token_ids, signature.vocab_size)
    _within("positions", step.positions, signature.positions)
    _within("slots", step.slots, blocks * size)
    _within("logits_rows", step.logits_rows, tokens)
    _check_queries(step, tokens)


def _check_queries(step: StepInput, tokens: int) -> None:
    borders = step.q_start.numpy()
    counts = np.diff(borders)
    if borders[0] != 0 or borders[-1] > tokens or counts.min() < 0:
        raise ValueError(f"q_start: must rise from 0 to at most the {tokens} tokens of the step")
    if (counts > step.seq_lens.numpy()).any():
        raise ValueError("seq_lens: a request has fewer tokens than the step runs for it")


def _expect(name: str, tensor: torch.Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    if tensor.dtype != dtype or tuple(tensor.shape) != shape:
        raise ValueError(
            f"{name}: {tensor.dtype} {list(tensor.shape)}; the programs take {dtype} {list(shape)}"
        )
    if not tensor.is_contiguous():
        raise ValueError(f"{name}: must be contiguous")


def _within(name: str, tensor: torch.Tensor, end: int) -> None:
    array = tensor.numpy()
    if array.size:
        low, high = int(array.min()), int(array.max())
        if low < 0 or high >= end:
            raise ValueError(f"{name}: {low} to {high}; must be within 0 to {end - 1}")
