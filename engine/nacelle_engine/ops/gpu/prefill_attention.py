"""Attention of a step's ragged queries over the paged cache: prompts, chunks, mixed steps.

For token t of request r (q_start[r] <= t < q_start[r + 1]) at position p = seq_lens[r] -
q_start[r + 1] + t, and query head h with KV head g = h // (heads / kv_heads):
out[t, h] = sum over p - window < i <= p of softmax_i(cap(q . k_i * scale)) v_i.

q, out bf16 [T, heads D]; kv [B, 2, kv_heads, 32, D], which holds the step's own K and V;
kv_scales fp32 [2]; block_table int32 [R, W]; q_start int32 [R + 1]; seq_lens int32 [R];
tile_request, tile_first int32 [Q]: program/tiles.py's plan for `block_q` tokens a tile; a tile of
request -1 is padding. Rows of tokens that belong to no request are not written.

A tile's rows are tokens x heads: packed, all heads of a KV head's group, so that K and V are
read once for the group and a decode row fills `group` rows instead of one; else one head.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from nacelle_engine.ops.gpu import paged_kv
from nacelle_engine.ops.gpu.attention_shape import AttentionShape
from nacelle_engine.ops.gpu.capability import depends
from nacelle_engine.ops.gpu.kernel import Kernel
from nacelle_engine.ops.gpu.paged_kv import head_rows, rows
from nacelle_engine.ops.gpu.softmax_state import NEVER, capped, fold
from nacelle_engine.program.launch import ONE, Size


@dataclass(frozen=True)
class Choice:
    """rows: tokens x heads of a tile; keys: positions a step of its loop; packed: the group's
    heads in one tile; masked: positions that all rows see take the loop of the others too, so that
    a query goes through the same instructions wherever its tile begins.
    """

    rows: int
    keys: int
    warps: int
    stages: int
    packed: bool = True
    masked: bool = False


def choices(shape: AttentionShape) -> tuple[Choice, ...]:
    """Candidates, the safe one first."""
    if not depends(shape.architecture) and shape.block_dim > 64:
        # Without sm_90's matrix instructions, which read K and V from shared memory.
        if shape.block_dim > 128:
            return Choice(64, 32, 8, 2), Choice(32, 32, 4, 2)
        return Choice(128, 32, 8, 3), Choice(64, 32, 4, 3), Choice(64, 32, 4, 2)
    if shape.block_dim > 128:
        return Choice(64, 32, 4, 2), Choice(128, 32, 8, 2)
    found = (
        Choice(128, 64, 8, 3),
        Choice(64, 64, 4, 3),
        Choice(128, 128, 8, 2),
        Choice(64, 64, 4, 2),
        Choice(128, 64, 8, 2),
        Choice(64, 32, 4, 3),
    )
    unpacked = (Choice(128, 64, 8, 3, packed=False),) if shape.group > 1 else ()
    return found + unpacked


def block_q(shape: AttentionShape, choice: Choice) -> int:
    """Tokens a tile covers: what program/tiles.py plans with."""
    return choice.rows // _heads(shape, choice)


def _heads(shape: AttentionShape, choice: Choice) -> int:
    return shape.group if choice.packed else 1


def kernel(shape: AttentionShape, choice: Choice) -> Kernel:
    """Grid (heads or KV heads, Q)."""
    heads = _heads(shape, choice)
    tile = f"r{choice.rows}_k{choice.keys}_h{heads}_w{choice.warps}_p{choice.stages}"
    tile += "_masked" if choice.masked else ""
    return Kernel(
        name=f"prefill_attention_{shape.name}_{tile}",
        function=prefill_attention,
        arguments={
            **shape.arguments({"q": "*bf16"}, norms=False),
            **{"block_table": "*i32", "W": "i32", "q_start": "*i32", "seq_lens": "*i32"},
            **{"tile_request": "*i32", "tile_first": "*i32", "out": "*bf16"},
        },
        constants={
            **shape.absent(norms=False),
            "HEADS": shape.heads,
            "KV_HEADS": shape.kv_heads,
            "D": shape.head_dim,
            "BLOCK_D": shape.block_dim,
            "TILE_HEADS": heads,
            "ROWS": choice.rows,
            "KEYS": choice.keys,
            "SCALE": shape.softmax_scale,
            "CAP": shape.soft_cap,
            "WINDOW": shape.window,
            "MASKED": choice.masked or shape.window > 0,
            "DEPENDENT": depends(shape.architecture),
        },
        grid=(Size(times=shape.heads // heads), Size(symbol="Q"), ONE),
        warps=choice.warps,
        stages=choice.stages,
        dependent=depends(shape.architecture),
    )


@triton.jit
def prefill_attention(
    q,
    kv,
    kv_scales,
    block_table,
    W,
    q_start,
    seq_lens,
    tile_request,
    tile_first,
    out,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    TILE_HEADS: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    SCALE: tl.constexpr,
    CAP: tl.constexpr,
    WINDOW: tl.constexpr,
    MASKED: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    """One tile of a request's queries over all positions that they see."""
    BLOCK_Q: tl.constexpr = ROWS // TILE_HEADS
    if DEPENDENT:
        gdc_launch_dependents()
    tile = tl.program_id(1)
    request = tl.load(tile_request + tile)
    if request < 0:
        return
    head = tl.program_id(0) * TILE_HEADS
    keys = kv + head // (HEADS // KV_HEADS) * (32 * D)
    first = tl.load(tile_first + tile)
    after = tl.load(q_start + request + 1)
    before = tl.load(seq_lens + request) - after
    row = tl.arange(0, ROWS)
    token = first + row // TILE_HEADS
    live = ((row < BLOCK_Q * TILE_HEADS) & (token < after))[:, None]
    column = tl.arange(0, BLOCK_D)[None, :]
    if BLOCK_D > D:
        live = live & (column < D)
    place = (token.to(tl.int64) * HEADS + head + row % TILE_HEADS)[:, None] * D + column
    if DEPENDENT:
        gdc_wait()
    # FP8 converts to fp16 exactly, and by an instruction of its own.
    TYPE: tl.constexpr = tl.bfloat16 if kv_scales is None else tl.float16  # type: ignore[assignment]
    scale = SCALE if kv_scales is None else SCALE * tl.load(kv_scales)
    x = tl.load(q + place, mask=live, other=0.0).to(TYPE)

    # Positions before `clear` are seen by every row; those before `lowest` by none.
    end = before + tl.minimum(first + BLOCK_Q, after)
    lowest = tl.maximum(before + first - WINDOW + 1, 0) // KEYS * KEYS if WINDOW else 0
    clear = lowest if MASKED else (before + first + 1) // KEYS * KEYS
    top = tl.full([ROWS], NEVER, tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    acc = tl.zeros([ROWS, BLOCK_D], tl.float32)
    table = block_table + request * W
    top, total, acc = _attend(
        x, keys, table, lowest, clear, before + token, end, top, total, acc, scale,
        KV_HEADS, D, KEYS, CAP, WINDOW, False,
    )  # fmt: skip
    top, total, acc = _attend(
        x, keys, table, clear, end, before + token, end, top, total, acc, scale,
        KV_HEADS, D, KEYS, CAP, WINDOW, True,
    )  # fmt: skip
    v_scale = 1.0 if kv_scales is None else tl.load(kv_scales + 1)
    acc = acc * (v_scale / total)[:, None]
    tl.store(out + place, acc.to(tl.bfloat16), mask=live)


@triton.jit
def _attend(
    q,
    keys,
    table,
    begin,
    end,
    query,
    length,
    top,
    total,
    acc,
    scale,
    KV_HEADS: tl.constexpr,
    D: tl.constexpr,
    KEYS: tl.constexpr,
    CAP: tl.constexpr,
    WINDOW: tl.constexpr,
    MASKED: tl.constexpr,
):
    """The softmax state after positions `begin` to `end` - 1; `query`: the rows' positions."""
    column = tl.arange(0, q.shape[1])[None, :]
    # Rows after the end repeat the last one: what lies there in the cache may be anything.
    position = begin + tl.arange(0, KEYS)
    offset = rows(table, tl.minimum(position, length - 1), KV_HEADS, D)
    for _ in range(begin, end, KEYS):
        place = keys + offset[:, None] + column
        # Blocks are looked up a tile ahead: K and V then wait for nothing, and are pipelined.
        offset = rows(table, tl.minimum(position + KEYS, length - 1), KV_HEADS, D)
        k = head_rows(place, column, D).to(q.dtype)
        v = head_rows(place + KV_HEADS * 32 * D, column, D).to(q.dtype)
        score, factor = capped(tl.dot(q, tl.trans(k)), scale, CAP)
        if MASKED:
            seen = position[None, :] <= query[:, None]
            if WINDOW:
                seen = seen & (position[None, :] > query[:, None] - WINDOW)
            score = tl.where(seen, score, NEVER)
        top, total, acc = fold(top, total, acc, score, v, factor)
        position += KEYS
    return top, total, acc


def reference(
    q: torch.Tensor,
    kv: torch.Tensor,
    block_table: torch.Tensor,
    q_start: torch.Tensor,
    seq_lens: torch.Tensor,
    shape: AttentionShape,
    *,
    kv_scales: torch.Tensor | None = None,
) -> torch.Tensor:
    """The formula in float32, one request after another; other rows are 0."""
    heads = q.float().view(q.shape[0], shape.heads, shape.head_dim)
    out = torch.zeros_like(heads)
    borders = q_start.tolist()
    for r, (first, after) in enumerate(pairwise(borders)):
        if first < after:
            length = int(seq_lens[r])
            k, v = paged_kv.gather(kv, block_table[r], length, kv_scales)
            position = torch.arange(length - (after - first), length, device=q.device)
            out[first:after] = _softmax(heads[first:after], k, v, position, shape)
    return out.flatten(1)


def _softmax(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, position: torch.Tensor, shape: AttentionShape
) -> torch.Tensor:
    k, v = (x.repeat_interleave(shape.group, dim=1) for x in (k, v))
    scores = torch.einsum("thd,ihd->hti", q, k) * shape.softmax_scale
    if shape.soft_cap:
        scores = shape.soft_cap * torch.tanh(scores / shape.soft_cap)
    behind = position[:, None] - torch.arange(k.shape[0], device=q.device)
    hidden = behind < 0
    if shape.window:
        hidden |= behind >= shape.window
    weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
    return torch.einsum("hti,ihd->thd", weights, v)
