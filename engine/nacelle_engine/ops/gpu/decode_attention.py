"""Attention of one new token a request, with its rope and its append to the cache, in one launch.

Request r's token is row r of qkv, at position p = seq_lens[r] - 1, for query head h and KV head
g = h // (heads / kv_heads):
q', k' = rope(norm(q)), rope(norm(k)) (rotation.py); k', v are kept in the cache at p;
out[r, h] = sum over p - window < i <= p of softmax_i(cap(q' . k'_i * scale)) v_i.

qkv bf16 [R, (heads + 2 kv_heads) D]; rope fp32 [S, E]; kv [B, 2, kv_heads, 32, D]; kv_scales
fp32 [2]; q_norm, k_norm bf16 [D]; block_table int32 [R, W]; seq_lens int32 [R]; out bf16
[R, heads D], or instead a_codes FP8 [R, heads D] with static_scale fp32 [1] or with a_scales fp32
[kv_heads, 256] (attention_output.py). seq_lens[r] = 0 is padding: only its row of out is written,
with zeros.
partial fp32 and counters int32 (`workspace` gives their sizes) serve the merge of the splits;
counters are 0 before the first launch and are left so.

One program takes all query heads of a KV head over a share of the context (split). How the
context is shared out depends on the request's own length only. block_table, seq_lens and older
positions of the cache are read before the predecessor's end: no kernel of the same step may write
these.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from nacelle_engine.ops.gpu import attention_output, prefill_attention, rope_append
from nacelle_engine.ops.gpu.attention_output import Result, put_all
from nacelle_engine.ops.gpu.attention_shape import AttentionShape
from nacelle_engine.ops.gpu.capability import depends, require_fp8, shared_memory
from nacelle_engine.ops.gpu.kernel import Kernel
from nacelle_engine.ops.gpu.kv_tile import attended, cells, parts, whole
from nacelle_engine.ops.gpu.paged_kv import TOKENS, head_rows, kept, rows
from nacelle_engine.ops.gpu.prefetch import prefetch
from nacelle_engine.ops.gpu.rotation import rotated
from nacelle_engine.ops.gpu.softmax_state import NEVER, capped
from nacelle_engine.ops.gpu.split_merge import STATE, merge, publish
from nacelle_engine.program.launch import Size


@dataclass(frozen=True)
class Choice:
    """keys: positions a tile; splits: programs at most that share a context; least: positions at
    least that a program takes, a multiple of keys; early: a program's first tile is in registers
    before the predecessor's end.
    """

    keys: int
    splits: int
    least: int
    warps: int = 4
    stages: int = 3
    early: bool = False


# (keys, warps, stages, early) of a tile, the safe one first.
_TILES = (
    (64, 4, 3, False),
    (64, 4, 2, False),
    (128, 8, 2, True),
    (256, 8, 2, True),
    (128, 4, 2, True),
    (64, 2, 2, True),
    (32, 2, 3, False),
    (64, 2, 3, False),
    (128, 8, 2, False),
    (32, 2, 2, False),
    (32, 4, 4, False),
)
# So many of them are tried with ways to share a context that are seldom the best.
_OFTEN = 6


def choices(shape: AttentionShape, requests: int) -> tuple[Choice, ...]:
    """Candidates for steps of up to `requests` requests, the safe one first."""
    tiles = [tile for tile in _TILES if _fits(shape, *tile)]
    likely, seldom = _shares(requests * shape.kv_heads)
    tried = [(share, tile) for share in likely for tile in tiles]
    tried += [(share, tile) for share in seldom for tile in tiles[:_OFTEN]]
    return tuple(
        Choice(keys, splits, max(keys, least), warps, stages, early)
        for (splits, least), (keys, warps, stages, early) in tried
    )


def _shares(pairs: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(splits, least) for so many pairs of request and KV head, on about 132 multiprocessors:
    the likely ones and the others.
    """
    if pairs > 64:
        # One program a pair fills the GPU; splits are for the few long contexts among short ones.
        return [(8, 512), (1, 0)], [(8, 1024), (2, 0)]
    enough = min(32, triton.next_power_of_2(264 // pairs))
    return [(enough, 0)], [(splits, 0) for splits in {min(32, 2 * enough), enough // 2} - {enough}]


def _fits(shape: AttentionShape, keys: int, warps: int, stages: int, early: bool) -> bool:
    """Whether K and V on their way leave 16 KiB of a program's shared memory for the rest, and
    those that come early 64 registers a thread at most.
    """
    tile = 2 * keys * shape.block_dim * (1 if shape.fp8 else 2)
    if early and tile > 256 * 32 * warps:
        return False
    return (stages - 1) * tile + 16384 <= shared_memory(shape.architecture)


def workspace(shape: AttentionShape, choice: Choice, requests: int) -> tuple[int, int]:
    """(fp32 elements of partial, int32 elements of counters); 0, 0 without splits."""
    if choice.splits == 1:
        return 0, 0
    pairs = requests * shape.kv_heads
    return pairs * choice.splits * shape.group * (shape.block_dim + STATE.value), pairs


def kernel(shape: AttentionShape, choice: Choice, *, result: Result = "bf16") -> Kernel:
    """Grid (R, kv_heads, splits)."""
    tile = f"k{choice.keys}_s{choice.splits}_l{choice.least}_w{choice.warps}_p{choice.stages}"
    tile += "_early" if choice.early else ""
    split = choice.splits > 1
    if result != "bf16":
        require_fp8(shape.architecture, "quantization.algorithm")
    results = attention_output.arguments(result)
    given = {name: kind for name, kind in results.items() if kind is not None}
    return Kernel(
        name=f"decode_attention_{shape.name}{'' if result == 'bf16' else '_' + result}_{tile}",
        function=decode_attention,
        arguments={
            **shape.arguments({"qkv": "*bf16", "rope": "*fp32"}, norms=True),
            **{"block_table": "*i32", "W": "i32", "seq_lens": "*i32", **given},
            **({"partial": "*fp32", "counters": "*i32"} if split else {}),
        },
        constants={
            **shape.absent(norms=True),
            **dict.fromkeys(name for name in results if name not in given),
            **({} if split else {"partial": None, "counters": None}),
            "HEADS": shape.heads,
            "KV_HEADS": shape.kv_heads,
            "D": shape.head_dim,
            "E": shape.rotary,
            "BLOCK_D": shape.block_dim,
            "ROWS": max(16, triton.next_power_of_2(shape.group)),
            "EPS": shape.norm_eps or 0.0,
            "SCALE": shape.softmax_scale,
            "CAP": shape.soft_cap,
            "WINDOW": shape.window,
            "KEYS": choice.keys,
            "SPLITS": choice.splits,
            "LEAST": choice.least // choice.keys,
            "EARLY": choice.early,
            "DEPENDENT": depends(shape.architecture),
        },
        grid=(Size(symbol="R"), Size(times=shape.kv_heads), Size(times=choice.splits)),
        warps=choice.warps,
        stages=choice.stages,
        dependent=depends(shape.architecture),
    )


@triton.jit
def decode_attention(
    qkv,
    rope,
    kv,
    kv_scales,
    q_norm,
    k_norm,
    block_table,
    W,
    seq_lens,
    out,
    a_codes,
    a_scales,
    static_scale,
    partial,
    counters,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    BLOCK_D: tl.constexpr,
    ROWS: tl.constexpr,
    EPS: tl.constexpr,
    SCALE: tl.constexpr,
    CAP: tl.constexpr,
    WINDOW: tl.constexpr,
    KEYS: tl.constexpr,
    SPLITS: tl.constexpr,
    LEAST: tl.constexpr,
    EARLY: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    """A request's KV head over one split of its context."""
    GROUP: tl.constexpr = HEADS // KV_HEADS
    PART: tl.constexpr = KV_HEADS * 32 * D
    request = tl.program_id(0)
    kv_head = tl.program_id(1)
    split = tl.program_id(2)
    if DEPENDENT:
        gdc_launch_dependents()
    length = tl.load(seq_lens + request)
    # Tiles over the older positions, 0 to length - 2; the last split adds the newest.
    older = length - 1
    lowest = tl.maximum(length - WINDOW, 0) if WINDOW else 0
    first = lowest // KEYS
    tiles = tl.cdiv(older, KEYS) - first
    share = tl.maximum(tl.cdiv(tiles, SPLITS), LEAST)
    active = tl.maximum(tl.cdiv(tiles, share), 1)
    if split >= active:
        return
    begin = first + split * share
    end = tl.minimum(begin + share, first + tiles)
    table = block_table + request * W
    keys = kv + kv_head * (32 * D)
    # Rows after the end repeat the last one: what lies there in the cache may be anything.
    last = tl.maximum(older - 1, 0)
    position = begin * KEYS + tl.arange(0, KEYS)
    offset = rows(table, tl.minimum(position, last), KV_HEADS, D)
    newest_offset = rows(table, tl.maximum(older, 0), KV_HEADS, D)
    PAIRS: tl.constexpr = kv_scales is not None  # type: ignore[assignment]
    CELLS: tl.constexpr = D // 2 if PAIRS else D
    cell = tl.arange(0, BLOCK_D // 2 if PAIRS else BLOCK_D)[None, :]
    tile = cells(keys) + cell
    if EARLY:
        place = tile + (offset // (D // CELLS))[:, None]
        first_k = head_rows(place, cell, CELLS)
        first_v = head_rows(place + PART // (D // CELLS), cell, CELLS)
        # Before a second token nothing has been written.
        first_v = tl.where(older > 0, first_v, tl.zeros_like(first_v))
        offset = rows(table, tl.minimum(position + KEYS, last), KV_HEADS, D)
        begin += 1
    if DEPENDENT:
        prefetch(keys, table, begin * KEYS, tl.minimum(end * KEYS, older), KEYS, KV_HEADS, D)
        gdc_wait()
    row = tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, BLOCK_D)[None, :]
    live = row < GROUP
    keeps = split == active - 1
    stored = keeps
    if BLOCK_D > D:
        live = live & (column < D)
        stored = keeps & (column < D)
    places = (request * HEADS + kv_head * GROUP + row) * D + column
    if length == 0:
        zeros = tl.zeros([ROWS, BLOCK_D], tl.float32)
        put_all(zeros, places, live, out, a_codes, a_scales, static_scale, request, kv_head)
        return

    # FP8 converts to fp16 exactly, and by an instruction of its own.
    TYPE: tl.constexpr = tl.bfloat16 if kv_scales is None else tl.float16  # type: ignore[assignment]
    k_scale = 1.0 if kv_scales is None else tl.load(kv_scales)
    angles = rope + older * E
    token = qkv + request * ((HEADS + 2 * KV_HEADS) * D)
    heads = token + (kv_head * GROUP + row) * D
    q = rotated(heads, live, column, q_norm, angles, EPS, D, E).to(TYPE)
    # All splits load the newest position, so that it waits together with q; the last one keeps it.
    head = token + (HEADS + kv_head) * D + tl.arange(0, 1)[:, None]
    new_k = kept(rotated(head, column >= 0, column, k_norm, angles, EPS, D, E), kv, kv_scales, 0)
    new_v = head_rows(head + KV_HEADS * D + column, column, D).to(tl.float32)
    new_v = kept(new_v, kv, kv_scales, 1)
    newest = tl.sum(q.to(tl.float32) * new_k.to(TYPE).to(tl.float32), 1)
    newest, base = capped(newest, SCALE * k_scale, CAP)
    top = tl.where(keeps, newest * base, NEVER)
    total = tl.zeros([ROWS], tl.float32) + tl.where(keeps, 1.0, 0.0)
    acc = tl.zeros([ROWS, BLOCK_D], tl.float32) + tl.where(keeps, new_v.to(tl.float32), 0.0)
    slot = keys + newest_offset + column
    tl.store(slot, new_k, mask=stored)
    tl.store(slot + PART, new_v, mask=stored)
    scale = SCALE * k_scale
    q, state = parts(q, PAIRS), parts(acc, PAIRS)
    if EARLY:
        seen = ((position < older) & (position >= lowest))[None, :]
        top, total, state = attended(
            q, first_k, first_v, seen, top, total, state, scale, CAP, PAIRS
        )
        position += KEYS
    for _ in range(begin, end):
        place = tile + (offset // (D // CELLS))[:, None]
        # Blocks are looked up a tile ahead: K and V then wait for nothing, and are pipelined.
        offset = rows(table, tl.minimum(position + KEYS, last), KV_HEADS, D)
        k = head_rows(place, cell, CELLS)
        v = head_rows(place + PART // (D // CELLS), cell, CELLS)
        seen = ((position < older) & (position >= lowest))[None, :]
        top, total, state = attended(q, k, v, seen, top, total, state, scale, CAP, PAIRS)
        position += KEYS
    acc = whole(state, PAIRS)

    v_scale = 1.0 if kv_scales is None else tl.load(kv_scales + 1)
    if active == 1:
        acc = acc * (v_scale / total)[:, None]
        put_all(acc, places, live, out, a_codes, a_scales, static_scale, request, kv_head)
        return
    if partial is not None:
        pair = request * KV_HEADS + kv_head
        states = partial + pair.to(tl.int64) * (SPLITS * GROUP * (BLOCK_D + STATE))
        publish(states, split, top, total, acc, GROUP, ROWS, BLOCK_D)
        # Every thread's part of the state is written before the count says so.
        tl.debug_barrier()
        if tl.atomic_add(counters + pair, 1, sem="acq_rel") == active - 1:
            tl.store(counters + pair, 0)
            merge(
                states,
                active,
                v_scale,
                request,
                kv_head,
                out,
                a_codes,
                a_scales,
                static_scale,
                HEADS,
                GROUP,
                SPLITS,
                D,
                BLOCK_D,
            )


def reference(
    qkv: torch.Tensor,
    rope: torch.Tensor,
    kv: torch.Tensor,
    block_table: torch.Tensor,
    seq_lens: torch.Tensor,
    shape: AttentionShape,
    *,
    kv_scales: torch.Tensor | None = None,
    q_norm: torch.Tensor | None = None,
    k_norm: torch.Tensor | None = None,
) -> torch.Tensor:
    """The formula in float32; appends to kv as the kernel does."""
    requests = qkv.shape[0]
    out = qkv.new_zeros(requests, shape.heads * shape.head_dim, dtype=torch.float32)
    live = torch.nonzero(seq_lens > 0).flatten()
    position = (seq_lens[live] - 1).long()
    block = block_table[live, position // TOKENS].long()
    q = rope_append.reference(
        qkv[live],
        rope,
        position,
        block * TOKENS + position % TOKENS,
        kv,
        shape,
        kv_scales=kv_scales,
        q_norm=q_norm,
        k_norm=k_norm,
    )
    each = torch.arange(len(live) + 1, dtype=torch.int32)
    out[live] = prefill_attention.reference(
        q, kv, block_table[live], each, seq_lens[live], shape, kv_scales=kv_scales
    )
    return out
