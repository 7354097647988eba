"""Log-probabilities as answers tell them: log softmax of the model's own logits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nacelle_runtime.batch import Chunk
from nacelle_runtime.request import Logprob
from nacelle_runtime.sampling.cuts import largest
from nacelle_runtime.upload import download, upload

# Rows of a prompt that are worked on at once: their float32 copies bound the memory it takes.
_ROWS = 64


@dataclass(frozen=True)
class Told:
    """Of N rows, on their way to the host.

    chosen       [N]       the chosen ids' values
    ranks        [N]       their ranks, counted from 1
    values, ids  [N, top]  the likeliest
    """

    chosen: torch.Tensor
    ranks: torch.Tensor
    values: torch.Tensor
    ids: torch.Tensor

    def list(self, tops: Sequence[int]) -> list[Logprob]:
        """One a row, with its `tops` likeliest; all have arrived."""
        chosen, ranks = self.chosen.tolist(), self.ranks.tolist()
        values, ids = self.values.tolist(), self.ids.tolist()
        return [
            Logprob(chosen[row], ranks[row], ids[row][:top], values[row][:top])
            for row, top in enumerate(tops)
        ]


@dataclass(frozen=True)
class Scores:
    """The log-probabilities of prompts, by chunk: parts of at most 64 rows, and the ids wanted."""

    parts: Mapping[int, Sequence[Told]]
    tops: Mapping[int, int]

    def lists(self) -> dict[int, list[Logprob]]:
        """One for each target of each chunk; all have arrived."""
        return {
            number: [
                told for part in parts for told in part.list([self.tops[number]] * len(part.chosen))
            ]
            for number, parts in self.parts.items()
        }


def look(own: torch.Tensor, ids: torch.Tensor, top: int) -> Told:
    """Of log-probabilities [N, vocab] those of the chosen ids [N], and of the `top` likeliest."""
    chosen = own.gather(1, ids[:, None])
    ranks = (own > chosen).sum(dim=-1) + 1
    values, best = largest(own, min(top, own.shape[1]))
    return Told(*(download(part) for part in (chosen[:, 0], ranks, values, best)))


def score_prompts(logits: torch.Tensor, chunks: Sequence[Chunk]) -> Scores:
    """By chunk, what its score asks for: logits float32 [S, vocab], the scores' rows in order."""
    parts: dict[int, list[Told]] = {}
    tops: dict[int, int] = {}
    if not len(logits):
        return Scores(parts, tops)
    first = 0
    for number, chunk in enumerate(chunks):
        if chunk.score is None:
            continue
        targets, tops[number] = chunk.score.targets, chunk.score.top
        ids = upload(np.array(targets, dtype=np.int64), logits.device)
        rows = logits[first : first + len(targets)]
        parts[number] = [
            look(torch.log_softmax(some, dim=-1), some_ids, chunk.score.top)
            for some, some_ids in zip(
                torch.split(rows, _ROWS), torch.split(ids, _ROWS), strict=True
            )
        ]
        first += len(targets)
    return Scores(parts, tops)
