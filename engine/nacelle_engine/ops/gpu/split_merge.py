"""Softmax states of a context's splits, in a workspace, and their merge into attention's result.

A state is GROUP rows of D + 4 fp32 elements, D rounded up to a power of two: acc [D], top, total,
two of padding (16-byte rows).
out = sum_s 2^(top_s - max top) acc_s / sum_s 2^(top_s - max top) total_s, in a fixed order.
"""

import triton
import triton.language as tl

from nacelle_engine.ops.gpu.attention_output import keep_scale, put, put_all
from nacelle_engine.ops.gpu.softmax_state import NEVER

STATE = tl.constexpr(4)
# Elements of all splits' states that are in registers at once.
_AT_ONCE = tl.constexpr(8192)
_FEW = tl.constexpr(4)


@triton.jit
def publish(
    states, split, top, total, acc, GROUP: tl.constexpr, ROWS: tl.constexpr, D: tl.constexpr
):
    """Write the first GROUP rows of a split's state."""
    row = tl.arange(0, ROWS)
    place = states + (split * GROUP + row) * (D + STATE)
    live = row < GROUP
    tl.store(place[:, None] + tl.arange(0, D)[None, :], acc, mask=live[:, None])
    tl.store(place + D, top, mask=live)
    tl.store(place + D + 1, total, mask=live)


@triton.jit
def merge(
    states,
    active,
    v_scale,
    request,
    kv_head,
    out,
    a_codes,
    a_scales,
    static_scale,
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    SPLITS: tl.constexpr,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Store [GROUP, D] (attention_output.py) from the states of `active` splits, up to SPLITS."""
    FEWER: tl.constexpr = min(_FEW, SPLITS)
    where = (out, a_codes, a_scales, static_scale)
    # A short context pays for few states only.
    if active <= FEWER:
        _merge(states, active, v_scale, request, kv_head, where, HEADS, GROUP, FEWER, D, BLOCK_D)
    else:
        _merge(states, active, v_scale, request, kv_head, where, HEADS, GROUP, SPLITS, D, BLOCK_D)


@triton.jit
def _merge(
    states,
    active,
    v_scale,
    request,
    kv_head,
    where,
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    SPLITS: tl.constexpr,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    out, a_codes, a_scales, static_scale = where
    ROWS: tl.constexpr = triton.next_power_of_2(GROUP)
    WIDTH: tl.constexpr = min(BLOCK_D, max(16, _AT_ONCE // (SPLITS * ROWS)))
    split = tl.arange(0, SPLITS)[:, None]
    row = tl.arange(0, ROWS)
    place = states + (split * GROUP + row[None, :]) * (BLOCK_D + STATE)
    live = (split < active) & (row < GROUP)[None, :]
    top = tl.load(place + BLOCK_D, mask=live, other=NEVER)
    total = tl.load(place + BLOCK_D + 1, mask=live, other=1.0)
    weight = tl.exp2(top - tl.max(top, 0)[None, :])
    share = weight * (v_scale / tl.sum(weight * total, 0))[None, :]
    target = (request * HEADS + kv_head * GROUP + row[:, None]) * D
    heads = (row < GROUP)[:, None]
    if WIDTH == BLOCK_D:
        column = tl.arange(0, BLOCK_D)
        if BLOCK_D > D:
            heads = heads & (column < D)[None, :]
        part = _merged(place, share, live, column)
        places = target + column[None, :]
        put_all(part, places, heads, out, a_codes, a_scales, static_scale, request, kv_head)
        return
    inverse = 1.0
    if static_scale is not None:
        inverse = 1.0 / tl.load(static_scale)
    elif a_codes is not None:
        # A pass for the scale, then one for the codes: the states are in L1 by then.
        peak = 0.0
        for start in tl.static_range(0, BLOCK_D, WIDTH):
            part = _merged(place, share, live, start + tl.arange(0, WIDTH))
            peak = tl.maximum(peak, tl.max(tl.abs(part)))
        inverse = keep_scale(peak, a_scales, request, kv_head)
    for start in tl.static_range(0, BLOCK_D, WIDTH):
        column = start + tl.arange(0, WIDTH)
        part = _merged(place, share, live, column)
        inside = heads
        if BLOCK_D > D:
            inside = heads & (column < D)[None, :]
        put(part, target + column[None, :], inside, out, a_codes, inverse)


@triton.jit
def _merged(place, share, live, column):
    """These columns of the result [rows, columns]; 0 in rows that no split has."""
    acc = tl.load(place[:, :, None] + column[None, None, :], mask=live[:, :, None], other=0.0)
    return tl.sum(acc * share[:, :, None], 0)
