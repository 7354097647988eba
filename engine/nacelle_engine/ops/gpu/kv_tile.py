"""A tile of K and V as tensor cores take it, and the softmax state after a tile.

A bf16 cache is read as it lies. Codes of an FP8 cache are read in pairs, as int16 words: products
with V run over its rows, and tensor cores take only 16-bit elements across rows from shared memory
without single bytes being moved. A word is two columns of a row, so columns are taken apart, even
and odd: q and acc are tuples of one part (bf16) or of these two (FP8), and products over columns
sums of both.
"""

import triton
import triton.language as tl

from nacelle_engine.ops.gpu.softmax_state import NEVER, capped, weighed

# Values that come out of a pair, and weights that meet them: float16's exponent has another bias.
PAIR_SCALE = tl.constexpr(256.0)
# Two words of two codes each become the float16 of their low bytes and of their high bytes.
VALUES = tl.constexpr(
    """{
    .reg .b32 sign, rest;
    shl.b32 rest, $2, 7;
    shl.b32 sign, $2, 8;
    and.b32 rest, rest, 0x3F803F80;
    lop3.b32 $0, sign, 0x80008000, rest, 0xEA;
    shr.u32 rest, $2, 1;
    and.b32 rest, rest, 0x3F803F80;
    lop3.b32 $1, $2, 0x80008000, rest, 0xEA;
    }"""
)


@triton.jit
def _values(words):
    """The FP8 codes in the low and the high byte of int16 words, as float16 of 1/256 their value.

    Sign and the other seven bits move to their places; the exponent's bias is 15 instead of 7.
    """
    return tl.inline_asm_elementwise(
        VALUES,  # type: ignore[arg-type]
        "=r,=r,r",
        [words],
        dtype=(tl.float16, tl.float16),
        is_pure=True,
        pack=2,
    )


@triton.jit
def cells(keys):
    """The cache's pointer as tiles are read from it: to bf16, or to words of two codes."""
    if keys.dtype.element_ty == tl.bfloat16:
        found = keys
    else:
        found = keys.to(tl.pointer_type(tl.int16), bitcast=True)
    return found


@triton.jit
def parts(x, PAIRS: tl.constexpr):
    """x [M, D] as tiles need it: whole, or its even and its odd columns."""
    if PAIRS:
        even, odd = tl.split(tl.reshape(x, [x.shape[0], x.shape[1] // 2, 2]))
        found = (even, odd)
    else:
        found = (x,)  # type: ignore[assignment]
    return found


@triton.jit
def whole(x, PAIRS: tl.constexpr):
    """[M, D] from its parts."""
    return tl.interleave(x[0], x[1]) if PAIRS else x[0]


@triton.jit
def attended(q, k, v, seen, top, total, acc, scale, CAP: tl.constexpr, PAIRS: tl.constexpr):
    """The state after queries q [M, D] saw keys k [N, D] and values v [N, D] where `seen`."""
    if PAIRS:
        k_even, k_odd = _values(k)
        score = tl.dot(q[0], tl.trans(k_even))
        score = tl.dot(q[1], tl.trans(k_odd), score) * PAIR_SCALE
    else:
        score = tl.dot(q[0], tl.trans(k))
    score, factor = capped(score, scale, CAP)
    score = tl.where(seen, score, NEVER)
    weight, before, top, total = weighed(score, top, total, factor)
    if PAIRS:
        v_even, v_odd = _values(v)
        weight = (weight * PAIR_SCALE).to(tl.float16)
        even = tl.dot(weight, v_even, acc[0] * before)
        odd = tl.dot(weight, v_odd, acc[1] * before)
        after = (even, odd)
    else:
        alone = tl.dot(weight.to(v.dtype), v, acc[0] * before)
        after = (alone,)  # type: ignore[assignment]
    return top, total, after
