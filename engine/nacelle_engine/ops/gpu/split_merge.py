"""Softmax states of a context's splits, in a workspace, and their merge into attention's result.

A state is GROUP rows of D + 4 fp32 elements: acc [D], top, total, two of padding (16-byte rows).
out = sum_s 2^(top_s - max top) acc_s / sum_s 2^(top_s - max top) total_s, in a fixed order.
"""

import triton
import triton.language as tl

from nacelle_engine.ops.gpu.softmax_state import NEVER

STATE = tl.constexpr(4)
# Elements of all splits' states that are in registers at once.
_AT_ONCE = tl.constexpr(8192)


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
    states, active, result, v_scale, GROUP: tl.constexpr, SPLITS: tl.constexpr, D: tl.constexpr
):
    """Store [GROUP, D] bf16 at `result` from the states of `active` splits."""
    HEADS: tl.constexpr = triton.next_power_of_2(GROUP)
    WIDTH: tl.constexpr = min(D, max(16, _AT_ONCE // (SPLITS * HEADS)))
    split = tl.arange(0, SPLITS)[:, None]
    head = tl.arange(0, HEADS)
    place = states + (split * GROUP + head[None, :]) * (D + STATE)
    live = (split < active) & (head < GROUP)[None, :]
    top = tl.load(place + D, mask=live, other=NEVER)
    total = tl.load(place + D + 1, mask=live, other=1.0)
    weight = tl.exp2(top - tl.max(top, 0)[None, :])
    share = weight * (v_scale / tl.sum(weight * total, 0))[None, :]
    for start in tl.static_range(0, D, WIDTH):
        column = start + tl.arange(0, WIDTH)
        acc = tl.load(place[:, :, None] + column[None, None, :], mask=live[:, :, None], other=0.0)
        merged = tl.sum(acc * share[:, :, None], 0)
        target = result + head[:, None] * D + column[None, :]
        tl.store(target, merged.to(tl.bfloat16), mask=(head < GROUP)[:, None])
