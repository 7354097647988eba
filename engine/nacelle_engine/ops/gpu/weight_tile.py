"""A tile of a weight matrix: rows on their way from memory into the type that is computed in.

FP8 E4M3 codes take one of two ways, and both give the exact value of each of the 254 numbers:
convert  the hardware's conversion (sm_89 and later)
bits     the sign and the other seven bits moved to their places in a bfloat16, whose exponent is
         biased by 120 more; times 2^120. Right for subnormals too, on any architecture. The weight
         is bound as bytes.
"""

import triton
import triton.language as tl

# Four codes in one register become two pairs of bfloat16. 0x7B80 is 2^120, 0x8000 is -0: added to a
# product it changes nothing. (sm_80 multiplies pairs of bfloat16 only by fma.)
BITS_TO_BFLOAT16 = tl.constexpr(
    """{
    .reg .b32 codes, sign, bias, zero;
    mov.b32 bias, 0x7B807B80;
    mov.b32 zero, 0x80008000;
    prmt.b32 codes, $2, 0, 0x1404;
    and.b32 sign, codes, 0x80008000;
    shr.u32 codes, codes, 4;
    lop3.b32 codes, codes, 0x07F007F0, sign, 0xEA;
    fma.rn.bf16x2 $0, codes, bias, zero;
    prmt.b32 codes, $2, 0, 0x3424;
    and.b32 sign, codes, 0x80008000;
    shr.u32 codes, codes, 4;
    lop3.b32 codes, codes, 0x07F007F0, sign, 0xEA;
    fma.rn.bf16x2 $1, codes, bias, zero;
    }"""
)
# Thread i of the first $2 asks for $4 bytes, i times $3 bytes behind $1.
PREFETCH = tl.constexpr(
    """{
    .reg .pred asks;
    .reg .b32 row;
    .reg .b64 start;
    mov.u32 row, %tid.x;
    setp.lt.u32 asks, row, $2;
    mad.wide.u32 start, row, $3, $1;
    @asks cp.async.bulk.prefetch.L2.global [start], $4;
    mov.u32 $0, 0;
    }"""
)


@triton.jit
def decode(tile):
    """The weights' values in float32, from bfloat16, FP8 codes or the bytes of FP8 codes."""
    if tile.dtype == tl.uint8:
        tile = tl.inline_asm_elementwise(
            BITS_TO_BFLOAT16,  # type: ignore[arg-type]
            "=r,=r,r",
            [tile],
            dtype=tl.bfloat16,
            is_pure=True,
            pack=4,
        )
    elif tile.dtype == tl.float8e4nv:
        # By way of float16: the direct conversion to bfloat16 has a quarter of the speed.
        tile = tile.to(tl.float16)
    return tile.to(tl.float32)


@triton.jit
def load_tile(weight, rows, columns, K: tl.constexpr, BLOCK_K: tl.constexpr):
    """weight[rows, columns] of [N, K], zero beyond K; every row must exist."""
    pointers = weight + rows.to(tl.int64)[:, None] * K + columns[None, :]
    if K % BLOCK_K == 0:
        tile = tl.load(pointers, eviction_policy="evict_first")
    else:
        inside = columns[None, :] < K
        tile = tl.load(pointers, mask=inside, other=0.0, eviction_policy="evict_first")
    return tile


@triton.jit
def first_tile(weight, rows, begin, K: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_T: tl.constexpr):
    """The tile at column `begin`, for one token; None for a block of tokens.

    Tensor cores take tiles from shared memory: a tile in registers would only be in the way.
    """
    if BLOCK_T == 1:
        tile = load_tile(weight, rows, begin + tl.arange(0, BLOCK_K), K, BLOCK_K)
    else:
        tile = None
    return tile


@triton.jit
def prefetch_rows(weight, row, count, begin, end, K: tl.constexpr):
    """Ask for columns `begin` to `end` of `count` existing rows of [N, K] in the L2 cache.

    Both are multiples of 16 (or K's end), and K is one; there are as many threads as rows.
    """
    BYTES: tl.constexpr = weight.dtype.element_ty.primitive_bitwidth // 8
    columns = tl.minimum(end, K) - begin
    tl.inline_asm_elementwise(
        PREFETCH,  # type: ignore[arg-type]
        "=r,l,r,r,r",
        [weight + row.to(tl.int64) * K + begin, count, K * BYTES, columns * BYTES],
        dtype=tl.int32,
        is_pure=False,
        pack=1,
    )
