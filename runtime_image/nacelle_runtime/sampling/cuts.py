"""Drawing from probabilities, whole or cut by min_p, top_k and top_p.

min_p keeps the tokens with p >= min_p * the largest p; top_k keeps the k largest; top_p keeps, of
what is left and renormalised, the smallest set of largest ones whose sum reaches top_p.
"""

from collections.abc import Sequence

import numpy as np
import torch

from nacelle_runtime.request import Sampling
from nacelle_runtime.upload import upload

# How many of the largest probabilities are sorted at first: nearly always all that is kept.
_CANDIDATES = 1024


def bounded(sampling: Sampling, vocabulary: int) -> bool:
    """True when what is kept lies within the candidates, whatever the probabilities are."""
    return vocabulary <= _CANDIDATES or 0 < sampling.top_k <= _CANDIDATES


def pick_cut(
    probabilities: torch.Tensor, samplings: Sequence[Sampling], numbers: torch.Tensor
) -> torch.Tensor:
    """Draw among what is kept: float32 [N, vocab]; numbers float64 [N, 1] -> int64 [N].

    On a GPU no row is asked whether the candidates were enough, for the answer would have to be
    waited for: where they may not be, all are sorted.
    """
    vocabulary, device = probabilities.shape[1], probabilities.device
    cuts = [[s.top_k or vocabulary, s.top_p, s.min_p] for s in samplings]
    sent = upload(np.array(cuts, dtype=np.float64), device)
    top_k, top_p, min_p = torch.split(sent, 1, dim=1)
    few = all(bounded(sampling, vocabulary) for sampling in samplings)
    count = min(vocabulary, _CANDIDATES) if few or device.type == "cpu" else vocabulary
    values, ids = largest(probabilities, count)
    least = min_p.float() * values[:, :1]
    whole = probabilities.double().sum(dim=-1, keepdim=True)
    # Nothing is kept beyond the candidates, or top_p is reached within them.
    ends = (top_k <= count) | (values[:, -1:] < least)
    if not few and count < vocabulary:
        reached = (top_k >= vocabulary) & (min_p == 0)
        reached &= values.double().sum(dim=-1, keepdim=True) >= top_p * whole
        if not bool((ends | reached).all()):
            count = vocabulary
            values, ids = largest(probabilities, count)
    ranks = torch.arange(count, device=device)
    kept = values.double() * ((ranks < top_k) & (values >= least))
    total = torch.where(ends | (count == vocabulary), kept.sum(dim=-1, keepdim=True), whole)
    before = kept.cumsum(dim=-1) - kept
    kept = kept * (before < top_p * total)
    return ids.gather(1, pick(kept, numbers)[:, None])[:, 0]


def pick(weights: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """The first index whose cumulated weight exceeds number * total: [N, K] and [N, 1] -> [N]."""
    cumulated = weights.double().cumsum(dim=-1)
    total = cumulated[:, -1:]
    # Rounding must not carry the product up to the total, where nothing exceeds it.
    wanted = torch.minimum(numbers * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulated, wanted, right=True)[:, 0]


def largest(values: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The `count` largest of each row and their ids, largest first, ties in the order of ids."""
    if count == values.shape[1]:
        found, ids = values.sort(dim=-1, descending=True, stable=True)
        return found, ids
    ids = values.topk(count, dim=-1).indices.sort(dim=-1).values
    found, order = values.gather(1, ids).sort(dim=-1, descending=True, stable=True)
    return found, ids.gather(1, order)
