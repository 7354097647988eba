"""The paged KV cache [B, 2, kv_heads, 32, D]: where positions lie, how values are kept.

K is at index 0 of dimension 1, V at 1. A request's position p lies in block
block_table[p // 32] at place p % 32. FP8 caches hold value / scale, with kv_scales [2] for K and V.
"""

import torch
import triton
import triton.language as tl

from nacelle_engine.ops.gpu.fp8 import LARGEST, to_fp8

TOKENS = 32
TOKENS_PER_BLOCK = tl.constexpr(TOKENS)


@triton.jit
def rows(table, positions, KV_HEADS: tl.constexpr, D: tl.constexpr):
    """Offsets of K's rows of the first KV head, from a request's row of the block table."""
    block = tl.load(table + positions // TOKENS_PER_BLOCK).to(tl.int64)
    return block * (2 * KV_HEADS * TOKENS_PER_BLOCK * D) + positions % TOKENS_PER_BLOCK * D


@triton.jit
def head_rows(pointers, columns, D: tl.constexpr):
    """Rows of heads from pointers [N, columns], 0 in columns from D on."""
    if columns.shape[1] == D:
        tile = tl.load(pointers)
    else:
        tile = tl.load(pointers, mask=columns < D, other=0.0)
    return tile


@triton.jit
def kept(x, kv, kv_scales, part: tl.constexpr):
    """What the cache keeps of x (fp32): in its type, divided by the scale of K (0) or V (1)."""
    if kv_scales is not None:
        return to_fp8(x * (1.0 / tl.load(kv_scales + part)), kv)
    return x.to(kv.dtype.element_ty)


def store(
    kv: torch.Tensor,
    slots: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    kv_scales: torch.Tensor | None,
) -> None:
    """Reference: k, v [T, kv_heads, D] into the cache at slots [T]."""
    for part, x in enumerate((k.float(), v.float())):
        if kv_scales is not None:
            x = (x * (1.0 / kv_scales[part])).clamp(-LARGEST, LARGEST)
        kv[slots // TOKENS, part, :, slots % TOKENS] = x.to(kv.dtype)


def gather(
    kv: torch.Tensor, table: torch.Tensor, length: int, kv_scales: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Reference: K and V [length, kv_heads, D] in float32 of a request with this block table."""
    blocks = kv[table[: -(-length // TOKENS)].long()].float()
    parts = blocks.transpose(2, 3).transpose(0, 1).flatten(1, 2)[:, :length]
    if kv_scales is not None:
        parts = parts * kv_scales[:, None, None, None]
    return parts[0], parts[1]
