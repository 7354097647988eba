"""Products of an FP8 weight and FP8 activations with a scale per token and block of columns.

products[n, t] = sum_b scales[b, t] * sum_(k in b) weight[rows[n], k] * codes[tokens[t], k]

Both operands go to the tensor cores as they lie in memory; a block's sum of 128 columns is added up
in float32. The weights are the side with many rows, so that few tokens waste nothing.
"""

import triton
import triton.language as tl

from nacelle_engine.ops.gpu.block_scales import BLOCK, STRIDE

PREFETCH = tl.constexpr("cp.async.bulk.prefetch.L2.global [$1], $2; // $0")


@triton.constexpr_function
def _scales_ahead(tokens: int) -> int:
    """How many blocks ahead scales are loaded: no operands of the dot, nothing else pipelines them.

    The products of many tokens take longer than the load, and leave no registers for two scales.
    """
    return 1 if tokens < 64 else 0


@triton.jit
def block_bounds(K: tl.constexpr, SPLIT: tl.constexpr):
    """First block of this program's part of the sum, and the one after its last."""
    part = tl.program_id(2)
    return part * (K // BLOCK) // SPLIT, (part + 1) * (K // BLOCK) // SPLIT


@triton.jit
def prefetch_blocks(weight, rows, begin, end, K: tl.constexpr, AHEAD: tl.constexpr):
    """Ask for the first AHEAD blocks of each row's part in the L2 cache (sm_90 and later)."""
    if AHEAD > 0:
        count = tl.minimum(end - begin, AHEAD) * BLOCK
        tl.inline_asm_elementwise(
            PREFETCH,  # type: ignore[arg-type]
            "=r,l,r",
            [weight + rows.to(tl.int64) * K + begin * BLOCK, count],
            dtype=tl.int32,
            is_pure=False,
            pack=1,
        )


@triton.jit
def block_products(
    weight,
    rows,
    codes,
    scales,
    tokens,
    begin,
    end,
    K: tl.constexpr,
    SCALED: tl.constexpr,
    STAGES: tl.constexpr,
):
    """products [rows, tokens] over blocks `begin` to `end`; a scale serves SCALED blocks.

    Every row and token must exist.
    """
    AHEAD: tl.constexpr = _scales_ahead(tokens.shape[0])
    columns = tl.arange(0, BLOCK)
    weights = weight + rows.to(tl.int64)[:, None] * K + columns[None, :]
    activations = codes + tokens.to(tl.int64)[None, :] * K + columns[:, None]
    products = tl.zeros([rows.shape[0], tokens.shape[0]], tl.float32)
    factor = tl.load(scales + begin // SCALED * STRIDE + tokens)
    for block in tl.range(begin, end, num_stages=STAGES):
        later = tl.minimum(block + AHEAD, end - 1) // SCALED
        later_factor = tl.load(scales + later * STRIDE + tokens)
        if AHEAD == 0:
            factor = later_factor
        tile = tl.load(weights + block * BLOCK, eviction_policy="evict_first")
        activation = tl.load(activations + block * BLOCK)
        products += tl.dot(tile, activation) * factor[None, :]
        if AHEAD == 1:
            factor = later_factor
    return products


@triton.jit
def pair_products(
    weight,
    rows,
    other_rows,
    codes,
    scales,
    tokens,
    begin,
    end,
    K: tl.constexpr,
    STAGES: tl.constexpr,
):
    """products of `rows` and of `other_rows` in one pass over the activations; a scale a block.

    Two sums, since a block's sum beside one of twice the rows would not fit the registers.
    """
    AHEAD: tl.constexpr = _scales_ahead(tokens.shape[0])
    columns = tl.arange(0, BLOCK)
    weights = weight + rows.to(tl.int64)[:, None] * K + columns[None, :]
    others = weight + other_rows.to(tl.int64)[:, None] * K + columns[None, :]
    activations = codes + tokens.to(tl.int64)[None, :] * K + columns[:, None]
    products = tl.zeros([rows.shape[0], tokens.shape[0]], tl.float32)
    other_products = tl.zeros([rows.shape[0], tokens.shape[0]], tl.float32)
    factor = tl.load(scales + begin * STRIDE + tokens)
    for block in tl.range(begin, end, num_stages=STAGES):
        later_factor = tl.load(scales + tl.minimum(block + AHEAD, end - 1) * STRIDE + tokens)
        if AHEAD == 0:
            factor = later_factor
        tile = tl.load(weights + block * BLOCK, eviction_policy="evict_first")
        other = tl.load(others + block * BLOCK, eviction_policy="evict_first")
        activation = tl.load(activations + block * BLOCK)
        products += tl.dot(tile, activation) * factor[None, :]
        other_products += tl.dot(other, activation) * factor[None, :]
        if AHEAD == 1:
            factor = later_factor
    return products, other_products
