"""Online softmax: what has been seen of a row of scores, in base 2.

top = max of z, total = sum of 2^(z - top), acc = sum of 2^(z - top) v, with z = score * factor and
factor = scale * log2(e).
"""

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
# A masked score. Finite: a tile that is masked throughout leaves garbage instead of NaN, and the
# first true score multiplies that by 2^(NEVER - z) = 0. A power of two: its product with a factor
# is exact, so that it minus itself is 0 even where fused multiply-add rounds only one of both.
NEVER = tl.constexpr(-(2.0**100))


@triton.jit
def capped(score, scale, CAP: tl.constexpr):
    """(score, factor): cap * tanh(score * scale / cap), or the score as it is without a cap."""
    if CAP > 0:
        # tanh(x) = 1 - 2 / (1 + e^2x): the overflow of e^2x gives 1.
        power = tl.exp2(score * (scale * (2.0 * LOG2E / CAP)))
        score = CAP - 2.0 * CAP / (1.0 + power)
        factor = LOG2E
    else:
        factor = scale * LOG2E
    return score, factor


@triton.jit
def weighed(score, top, total, factor):
    """(weights [M, N], what older sums are multiplied with, top, total) after scores [M, N]."""
    higher = tl.maximum(top, tl.max(score, 1) * factor)
    weight = tl.exp2(score * factor - higher[:, None])
    before = tl.exp2(top - higher)
    return weight, before[:, None], higher, total * before + tl.sum(weight, 1)


@triton.jit
def fold(top, total, acc, score, v, factor):
    """The state [M], [M], [M, D] after scores [M, N] of values v [N, D]."""
    weight, before, top, total = weighed(score, top, total, factor)
    return top, total, tl.dot(weight.to(v.dtype), v, acc * before)
