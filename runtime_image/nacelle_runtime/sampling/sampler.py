"""From logits to token ids, all in float32, in this order:

1. Ids that are not allowed (by a grammar, bad words, stop ids before min_tokens) get -inf,
   logit_bias is added, then the penalties are applied (transforms.py).
2. Temperature 0 takes the first largest logit. Else p = softmax(logits / temperature).
3. min_p, then top_k, then top_p cut what is unlikely (cuts.py).
4. With u in [0, 1) from (seed, position), the token is the first whose cumulated probability
   exceeds u.

This is vLLM's order: clients meet these fields together there first, and their values are tuned
against it. Log-probabilities that are told are the model's own, before step 1 (logprobs.py), as
vLLM tells them too. A row's token does not depend on the other rows. Ties keep the order of ids.

All of it runs where the logits are, and `sample` waits for none of it: a step is launched with the
ids that the one before draws while it still runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch

from nacelle_engine.ops.greedy import greedy
from nacelle_runtime.batch import Batch, Draw, Drawn
from nacelle_runtime.philox import Purpose, uniforms
from nacelle_runtime.request import Sampling
from nacelle_runtime.sampling.cuts import bounded, pick, pick_cut
from nacelle_runtime.sampling.logprobs import Scores, Told, look, score_prompts
from nacelle_runtime.sampling.transforms import transform
from nacelle_runtime.upload import download, upload


@dataclass(frozen=True)
class Sampled:
    """A step's ids int64 [D] on the device; the rest is on its way to the host.

    told: the log-probabilities of the draws `rows`, `tops` ids beside each.
    """

    tokens: torch.Tensor
    arriving: torch.Tensor
    rows: Sequence[int]
    tops: Sequence[int]
    told: Told | None
    scores: Scores

    def drawn(self) -> Drawn:
        """All of it as plain numbers; the step has ended."""
        told = self.told.list(self.tops) if self.told is not None else []
        logprobs = dict(zip(self.rows, told, strict=True))
        return Drawn(self.arriving.tolist(), logprobs, self.scores.lists())


def sample(logits: torch.Tensor, batch: Batch) -> Sampled:
    """What a batch asks of its logits float32 [L, vocab]: rows of the draws, then of the scores.

    The rows of draws are changed in place.
    """
    draws = batch.draws
    scores = score_prompts(logits[len(draws) :], batch.chunks)
    logits = logits[: len(draws)]
    wanted = [(row, d.sampling.logprobs) for row, d in enumerate(draws)]
    tops = {row: top for row, top in wanted if top is not None}
    told, rows = None, list(tops)
    own = torch.log_softmax(_some(logits, rows), dim=-1) if rows else None
    tokens = draw_tokens(logits, draws)
    if own is not None:
        told = look(own, _some(tokens, rows), max(tops.values()))
    return Sampled(tokens, download(tokens), rows, list(tops.values()), told, scores)


def draw_tokens(logits: torch.Tensor, draws: Sequence[Draw]) -> torch.Tensor:
    """One token id for each row, int64 [N]: logits float32 [N, vocab], changed in place."""
    if not draws:
        return torch.empty(0, dtype=torch.int64, device=logits.device)
    transform(logits, draws)
    drawn = [row for row, draw in enumerate(draws) if draw.sampling.temperature > 0]
    if len(drawn) == len(draws):
        return _draw(logits, draws)
    tokens = greedy(logits)
    if drawn:
        _put(tokens, drawn, _draw(_some(logits, drawn), [draws[row] for row in drawn]))
    return tokens


def _draw(logits: torch.Tensor, draws: Sequence[Draw]) -> torch.Tensor:
    """Token ids int64 [N] of rows with a temperature."""
    device = logits.device
    u = uniforms([d.sampling.seed for d in draws], [d.position for d in draws], Purpose.TOKEN)
    sent = upload(np.stack([[d.sampling.temperature for d in draws], u], axis=1), device)
    temperatures, numbers = sent[:, :1].float(), sent[:, 1:]
    # The largest logit is taken off first, so that a tiny temperature cannot overflow.
    peak = logits - logits.max(dim=-1, keepdim=True).values
    probabilities = torch.softmax(peak / temperatures, dim=-1)
    tokens = torch.empty(len(draws), dtype=torch.int64, device=device)
    groups: dict[_Kept, list[int]] = {}
    for row, draw in enumerate(draws):
        groups.setdefault(_kept(draw.sampling, logits.shape[1]), []).append(row)
    for kept, rows in groups.items():
        some, their = _some(probabilities, rows), _some(numbers, rows)
        if kept is _Kept.ALL:
            picked = pick(some, their)
        else:
            picked = pick_cut(some, [draws[row].sampling for row in rows], their)
        _put(tokens, rows, picked)
    return tokens


class _Kept(Enum):
    """How much of the vocabulary may be drawn; rows of each kind are drawn apart."""

    ALL = 0
    FEW = 1
    UNKNOWN = 2


def _kept(sampling: Sampling, vocabulary: int) -> _Kept:
    if not sampling.cuts:
        return _Kept.ALL
    return _Kept.FEW if bounded(sampling, vocabulary) else _Kept.UNKNOWN


def _some(values: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
    """Some rows, in rising order; the tensor itself when they are all."""
    if len(rows) == len(values):
        return values
    return values.index_select(0, upload(np.array(rows, dtype=np.int64), values.device))


def _put(values: torch.Tensor, rows: Sequence[int], others: torch.Tensor) -> None:
    """Write some rows."""
    values.index_copy_(0, upload(np.array(rows, dtype=np.int64), values.device), others)
