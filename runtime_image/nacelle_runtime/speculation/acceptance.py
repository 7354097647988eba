"""Which drafted tokens an answer keeps: those that the engine draws itself.

Speculative sampling (Leviathan, Kalman and Matias, "Fast inference from transformers via
speculative decoding", ICML 2023, section 2.3; Chen et al., arXiv 2302.01318, theorem 1): a token d
that was drafted with probability q(d) is kept with probability min(1, p(d) / q(d)), p being what
the engine draws from at this place, after bans, biases, penalties, temperature and cuts; where it
is not kept the token comes from max(0, p - q), renormalised. Then each token's distribution is p.

A draft here is one token for sure, a function of what stands before it and of (seed, position):
q(d) = 1. So d is kept with probability p(d), and else the token comes from p without d. Drawing t
from p, and keeping d if and only if t = d, does just this: P(t = d) = p(d), and given t != d, t has
the distribution p without d. With p's own number for this (seed, position), t is moreover the very
token that the engine draws without drafts; greedy is the case in which p is one token.
"""

from collections.abc import Callable, Sequence

from nacelle_runtime.batch import Draw

# Of a chunk: its draws, its drafted tokens, and the token of each draw, of which there is one more;
# gives what the answer goes on by: the kept ones and the token after them.
Accept = Callable[[Sequence[Draw], Sequence[int], Sequence[int]], list[int]]


def accept(draws: Sequence[Draw], drafted: Sequence[int], drawn: Sequence[int]) -> list[int]:
    """The drawn tokens up to the first that is no drafted one: those before it were kept."""
    del draws
    kept = 0
    while kept < len(drafted) and drafted[kept] == drawn[kept]:
        kept += 1
    return list(drawn[: kept + 1])
