"""Products of an FP8 weight and FP8 activations with a scale per token and block of columns.

products[n, t] = sum_b scales[b, t] * sum_(k in b) weight[rows[n], k] * codes[tokens[t], k]

Both operands go to the tensor cores as they lie in memory; a block's sum of 128 columns is added up
in float32. The weights are the side with many rows, so that few tokens waste nothing.
"""

import triton
import triton.language as tl

from nacelle_engine.ops.gpu.block_scales import BLOCK, STRIDE


@triton.jit
def block_bounds(K: tl.constexpr, SPLIT: tl.constexpr):
    """First block of this program's part of the sum, and the one after its last."""
    part = tl.program_id(2)
    return part * (K // BLOCK) // SPLIT, (part + 1) * (K // BLOCK) // SPLIT


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
    UNROLL: tl.constexpr,
):
    """products [rows, tokens] over blocks `begin` to `end`; a scale serves SCALED blocks.

    Every row and token must exist; UNROLL divides the number of blocks.
    """
    columns = tl.arange(0, BLOCK)
    weights = weight + rows.to(tl.int64)[:, None] * K + columns[None, :]
    activations = codes + tokens.to(tl.int64)[None, :] * K + columns[:, None]
    products = tl.zeros([rows.shape[0], tokens.shape[0]], tl.float32)
    for first in tl.range(begin, end, UNROLL, num_stages=STAGES):
        for turn in tl.static_range(UNROLL):
            block = first + turn
            factor = tl.load(scales + block // SCALED * STRIDE + tokens)
            tile = tl.load(weights + block * BLOCK, eviction_policy="evict_first")
            activation = tl.load(activations + block * BLOCK)
            products += tl.dot(tile, activation) * factor[None, :]
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
    UNROLL: tl.constexpr,
):
    """products of `rows` and of `other_rows` in one pass over the activations; a scale a block.

    Two sums, since a block's sum beside one of twice the rows would not fit the registers.
    """
    columns = tl.arange(0, BLOCK)
    weights = weight + rows.to(tl.int64)[:, None] * K + columns[None, :]
    others = weight + other_rows.to(tl.int64)[:, None] * K + columns[None, :]
    activations = codes + tokens.to(tl.int64)[None, :] * K + columns[:, None]
    products = tl.zeros([rows.shape[0], tokens.shape[0]], tl.float32)
    other_products = tl.zeros([rows.shape[0], tokens.shape[0]], tl.float32)
    for first in tl.range(begin, end, UNROLL, num_stages=STAGES):
        for turn in tl.static_range(UNROLL):
            block = first + turn
            factor = tl.load(scales + block * STRIDE + tokens)
            tile = tl.load(weights + block * BLOCK, eviction_policy="evict_first")
            other = tl.load(others + block * BLOCK, eviction_policy="evict_first")
            activation = tl.load(activations + block * BLOCK)
            products += tl.dot(tile, activation) * factor[None, :]
            other_products += tl.dot(other, activation) * factor[None, :]
    return products, other_products
