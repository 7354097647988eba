"""One step of a compiled program, as the gate and the runtime hand it over."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class StepInput:
    """A ragged batch: R requests with T tokens in all; logits are wanted for L of the tokens.

    token_ids     int64 [T]        the tokens to run, request after request; alone of all it may
                                   lie on the program's device, where a step before left it
    positions     int64 [T]        each token's position in its sequence, from 0
    slots         int64 [T]        where its K and V go: block * tokens_per_block + offset;
                                   padding writes to block 0, which belongs to nobody
    q_start       int32 [R + 1]    request r owns the tokens q_start[r] to q_start[r + 1] - 1
    block_tables  int32 [R, MB]    one a KV group: each request's blocks in order, 0 after the last
    seq_lens      int32 [R]        tokens of each sequence in the cache after this step
    logits_rows   int64 [L]        rows of the T tokens whose logits are wanted
    """

    token_ids: torch.Tensor
    positions: torch.Tensor
    slots: torch.Tensor
    q_start: torch.Tensor
    block_tables: tuple[torch.Tensor, ...]
    seq_lens: torch.Tensor
    logits_rows: torch.Tensor
