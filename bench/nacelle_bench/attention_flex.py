"""Compiler-generated attention over the same pages: torch's FlexAttention with a mask of blocks."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.attention.flex_attention import BlockMask, FlexKernelOptions, flex_attention

from nacelle_bench.attention_contender import Contender
from nacelle_bench.attention_workload import Cache, Workload
from nacelle_engine.limits import TOKENS_PER_BLOCK

_TILE = 128  # queries that share a row of the mask


class FlexPages:
    """Keys and values of a cache as FlexAttention takes them: pages side by side, by KV head."""

    def __init__(self, cache: Cache) -> None:
        self._parts = [cache.kv[:, part].transpose(0, 1).contiguous() for part in (0, 1)]

    def layer(self, number: int, blocks: int) -> tuple[torch.Tensor, torch.Tensor]:
        """K and V of a layer of so many blocks, [1, kv_heads, tokens, D] each."""
        own = slice(number * blocks, (number + 1) * blocks)
        k, v = (part[:, own].flatten(1, 2)[None] for part in self._parts)
        return k, v


def flex_contender(work: Workload, pages: FlexPages, context: int, *, prefill: bool) -> Contender:
    """FlexAttention compiled for this size; every request's context is `context` tokens."""
    blocks, requests = len(work.layers[0]), work.step.requests
    mask = (_prefill_mask if prefill else _decode_mask)(work.block_table, context, blocks)
    q = work.q.reshape(requests, -1, *work.q.shape[1:]).transpose(1, 2).contiguous()
    layers = [pages.layer(number, blocks) for number in range(len(work.layers))]
    options: FlexKernelOptions | None = (
        {"BLOCK_M": _TILE, "BLOCK_N": TOKENS_PER_BLOCK} if prefill else None
    )
    attention = _compiled(mask, work.shape.softmax_scale, options)

    def attend(layer: int) -> torch.Tensor:
        return attention(q, *layers[layer])

    return Contender("FlexAttention", attend, work.q, rows=_rows)


def _rows(out: torch.Tensor) -> torch.Tensor:
    """[R, heads, queries, D] as [T, heads, D]."""
    return out.transpose(1, 2).flatten(0, 1)


def _compiled(
    mask: BlockMask, scale: float, options: FlexKernelOptions | None
) -> Callable[..., torch.Tensor]:
    def call(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> Any:
        return flex_attention(
            q, k, v, block_mask=mask, scale=scale, enable_gqa=True, kernel_options=options
        )

    # A size a contender: nothing compiled before is of use, and dynamo counts it against a limit.
    torch._dynamo.reset()
    return torch.compile(call, dynamic=False)


def _decode_mask(table: torch.Tensor, context: int, blocks: int) -> BlockMask:
    """Every page whole but the last, whose tokens are counted."""
    requests, width = table.shape
    last = torch.full((requests,), context - (width - 1) * TOKENS_PER_BLOCK, device=table.device)
    page = TOKENS_PER_BLOCK

    def in_last(b: torch.Tensor, _h: Any, _q: Any, kv: torch.Tensor) -> torch.Tensor:
        return kv % page < last[b]

    ones = torch.ones(requests, 1, 1, device=table.device, dtype=torch.int32)
    mask: BlockMask = BlockMask.from_kv_blocks(
        ones, _padded(table[:, None, None, -1:], blocks),
        ones * (width - 1), _padded(table[:, None, None, :], blocks),
        BLOCK_SIZE=(_TILE, page), mask_mod=in_last, seq_lengths=(1, blocks * page),
        compute_q_blocks=False,
    )  # fmt: skip
    return mask


def _prefill_mask(table: torch.Tensor, context: int, blocks: int) -> BlockMask:
    """For each tile of queries: pages wholly before it, and its own under the causal mask.

    context: a multiple of the tile.
    """
    requests, width = table.shape
    device, page = table.device, TOKENS_PER_BLOCK
    order = torch.arange(width, device=device, dtype=torch.int32)
    logical = torch.zeros(requests, blocks, device=device, dtype=torch.int32)
    logical.scatter_(1, table.long(), order.expand(requests, width).contiguous())

    def causal(b: torch.Tensor, _h: Any, q: torch.Tensor, kv: torch.Tensor) -> torch.Tensor:
        return q >= logical[b, kv // page] * page + kv % page

    tiles, pages = context // _TILE, _TILE // page
    before = torch.arange(tiles, device=device) * pages
    own = (before[:, None] + torch.arange(pages, device=device)).expand(requests, tiles, pages)
    rows = table.long()[:, None, :].expand(requests, tiles, width)
    counts = torch.full((requests, 1, tiles), pages, device=device, dtype=torch.int32)
    mask: BlockMask = BlockMask.from_kv_blocks(
        counts, _padded(rows.gather(2, own).int()[:, None], blocks),
        before.int().expand(requests, 1, tiles).contiguous(), _padded(rows.int()[:, None], blocks),
        BLOCK_SIZE=(_TILE, page), mask_mod=causal, seq_lengths=(context, blocks * page),
        compute_q_blocks=False,
    )  # fmt: skip
    return mask


def _padded(pages: torch.Tensor, blocks: int) -> torch.Tensor:
    """FlexAttention wants as many columns as there are pages."""
    out = pages.new_zeros(*pages.shape[:-1], blocks)
    out[..., : pages.shape[-1]] = pages
    return out
