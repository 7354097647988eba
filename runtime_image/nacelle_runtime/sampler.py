"""From logits to token ids: temperature, then top-k, then top-p, then one draw, all in float32.

p = softmax(logits / temperature); top_k keeps the k largest; top_p keeps, of what is left and
renormalised, the smallest set of largest ones whose sum reaches top_p. With u in [0, 1) from
(seed, position), the token is the first whose cumulated probability exceeds u. Greedy (temperature
0) takes the first largest logit. Ties keep the order of ids.
"""

from collections.abc import Sequence

import torch

from nacelle_runtime.batch import Draw
from nacelle_runtime.philox import Purpose, uniforms

# How many of the largest probabilities are sorted at first: nearly always top_p lies among them.
_CANDIDATES = 1024


def sample(logits: torch.Tensor, draws: Sequence[Draw]) -> list[int]:
    """One token id for each row: logits float32 [L, vocab], one draw a row."""
    for row, draw in enumerate(draws):
        if draw.banned:
            logits[row, list(draw.banned)] = -torch.inf
    tokens = logits.argmax(dim=-1)
    drawn = [row for row, draw in enumerate(draws) if draw.sampling.temperature > 0]
    if drawn:
        tokens[drawn] = _draw(logits[drawn], [draws[row] for row in drawn])
    # On a GPU nothing but these ids comes back to the host.
    result: list[int] = tokens.tolist()
    return result


def _draw(logits: torch.Tensor, draws: list[Draw]) -> torch.Tensor:
    """Token ids int64 [N] of rows with a temperature."""
    device = logits.device
    temperatures = torch.tensor(
        [[d.sampling.temperature] for d in draws], dtype=torch.float32, device=device
    )
    # The largest logit is taken off first, so that a tiny temperature cannot overflow.
    peak = logits - logits.max(dim=-1, keepdim=True).values
    probabilities = torch.softmax(peak / temperatures, dim=-1)
    u = uniforms([d.sampling.seed for d in draws], [d.position for d in draws], Purpose.TOKEN)
    numbers = torch.from_numpy(u)[:, None].to(device)
    tokens = torch.empty(len(draws), dtype=torch.int64, device=device)
    cut = [row for row, d in enumerate(draws) if d.sampling.top_k or d.sampling.top_p < 1]
    whole = [row for row in range(len(draws)) if row not in set(cut)]
    if whole:
        tokens[whole] = _pick(probabilities[whole], numbers[whole])
    if cut:
        samplings = [draws[row].sampling for row in cut]
        top_k = torch.tensor([[s.top_k or logits.shape[1]] for s in samplings], device=device)
        top_p = torch.tensor([[s.top_p] for s in samplings], dtype=torch.float64, device=device)
        tokens[cut] = _pick_cut(probabilities[cut], top_k, top_p, numbers[cut])
    return tokens


def _pick_cut(
    probabilities: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor, numbers: torch.Tensor
) -> torch.Tensor:
    """Draw among the largest: float32 [N, vocab]; top_k, top_p and numbers [N, 1] -> int64 [N]."""
    vocabulary = probabilities.shape[1]
    count = min(vocabulary, _CANDIDATES)
    values, ids = _largest(probabilities, count)
    reached = values.double().sum(dim=-1, keepdim=True) >= top_p
    if not bool(((top_k <= count) | (top_k >= vocabulary) & reached).all()):
        count = vocabulary
        values, ids = _largest(probabilities, count)
    kept = values.double() * (torch.arange(count, device=values.device) < top_k)
    everything = probabilities.double().sum(dim=-1, keepdim=True)
    total = torch.where(top_k <= count, kept.sum(dim=-1, keepdim=True), everything)
    before = kept.cumsum(dim=-1) - kept
    kept = kept * (before < top_p * total)
    return ids.gather(1, _pick(kept, numbers)[:, None])[:, 0]


def _largest(probabilities: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The `count` largest of each row and their ids, largest first, ties in the order of ids."""
    ids = probabilities.topk(count, dim=-1).indices.sort(dim=-1).values
    values, order = probabilities.gather(1, ids).sort(dim=-1, descending=True, stable=True)
    return values, ids.gather(1, order)


def _pick(weights: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """The first index whose cumulated weight exceeds number * total: [N, K] and [N, 1] -> [N]."""
    cumulated = weights.double().cumsum(dim=-1)
    total = cumulated[:, -1:]
    # Rounding must not carry the product up to the total, where nothing exceeds it.
    wanted = torch.minimum(numbers * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulated, wanted, right=True)[:, 0]
