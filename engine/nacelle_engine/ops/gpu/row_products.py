"""Products of activations with some rows of a weight matrix: the loop over K that linear ops share.

products[n, t] = sum_k weight[rows[n], k] * (x[tokens[t], k] * norm[k])
squares[t]     = sum_k x[tokens[t], k]^2

The factor 1 / rms of a norm is one number a token: the op multiplies by it at the end, so nobody
passes over x twice. Without a norm, x stands alone and squares is zero. One token is multiplied in
float32; a block of tokens by tensor cores, with x * norm rounded to bfloat16 once. Either way the
order of a token's sum knows nothing of the other tokens.
"""

import triton
import triton.language as tl

from nacelle_engine.ops.gpu.weight_tile import decode, load_tile

# Elements of K that one thread holds side by side: 16 bytes of FP8, or of bfloat16.
FP8_LANE = tl.constexpr(16)
BF16_LANE = tl.constexpr(8)


@triton.jit
def load_columns(vector, columns, K: tl.constexpr, BLOCK_K: tl.constexpr):
    """vector[columns] as float32, zero beyond K."""
    if K % BLOCK_K == 0:
        part = tl.load(vector + columns)
    else:
        part = tl.load(vector + columns, mask=columns < K, other=0.0)
    return part.to(tl.float32)


@triton.jit
def add_token(products, squares, tile, x, norm, columns, K: tl.constexpr, BLOCK_K: tl.constexpr):
    """Add one tile's share of one token; sums stay in the thread that has the terms."""
    PARTS: tl.constexpr = BLOCK_K // FP8_LANE
    activations = load_columns(x, columns, K, BLOCK_K)
    if norm is not None:
        squares += tl.sum(tl.reshape(activations * activations, [PARTS, FP8_LANE]), 1)
        activations *= load_columns(norm, columns, K, BLOCK_K)
    terms = decode(tile) * activations[None, :]
    products += tl.sum(tl.reshape(terms, [terms.shape[0], PARTS, FP8_LANE]), 2)
    return products, squares


@triton.jit
def add_block(
    products, squares, tile, x, norm, tokens, columns, K: tl.constexpr, BLOCK_K: tl.constexpr
):
    """Add one tile's share of a block of tokens."""
    pointers = x + tokens.to(tl.int64)[None, :] * K + columns[:, None]
    if K % BLOCK_K == 0:
        activations = tl.load(pointers)
    else:
        activations = tl.load(pointers, mask=columns[:, None] < K, other=0.0)
    if norm is not None:
        wide = activations.to(tl.float32)
        parts = tl.reshape(wide * wide, [BLOCK_K // BF16_LANE, BF16_LANE, tokens.shape[0]])
        squares += tl.sum(parts, 1)
        wide *= load_columns(norm, columns, K, BLOCK_K)[:, None]
        activations = wide.to(tl.bfloat16)
    return tl.dot(decode(tile).to(tl.bfloat16), activations, products), squares


@triton.jit
def row_products(
    first,
    x,
    norm,
    weight,
    rows,
    tokens,
    begin,
    end,
    K: tl.constexpr,
    BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr,
):
    """products [rows, tokens] and squares [tokens] over columns `begin` to `end`.

    Every row and token must exist. One token takes the float32 way, and `first`, the weight's tile
    at `begin`: it is added last, so that the loop's loads are on their way sooner.
    """
    columns = tl.arange(0, BLOCK_K)
    if tokens.shape[0] == 1:
        token = x + tl.sum(tokens, 0).to(tl.int64) * K
        products = tl.zeros([rows.shape[0], BLOCK_K // FP8_LANE], tl.float32)
        squares = tl.zeros([BLOCK_K // FP8_LANE], tl.float32)
        for k in tl.range(begin + BLOCK_K, end, BLOCK_K, num_stages=STAGES):
            tile = load_tile(weight, rows, k + columns, K, BLOCK_K)
            products, squares = add_token(
                products, squares, tile, token, norm, k + columns, K, BLOCK_K
            )
        products, squares = add_token(
            products, squares, first, token, norm, begin + columns, K, BLOCK_K
        )
        products = tl.sum(products, 1)[:, None]
        squares = tl.sum(squares[:, None], 0)
    else:
        products = tl.zeros([rows.shape[0], tokens.shape[0]], tl.float32)
        squares = tl.zeros([BLOCK_K // BF16_LANE, tokens.shape[0]], tl.float32)
        for k in tl.range(begin, end, BLOCK_K, num_stages=STAGES):
            tile = load_tile(weight, rows, k + columns, K, BLOCK_K)
            products, squares = add_block(
                products, squares, tile, x, norm, tokens, k + columns, K, BLOCK_K
            )
        squares = tl.sum(squares, 0)
    return products, squares
