"""Log-probabilities as answers tell them: log softmax of the model's own logits."""

from collections.abc import Sequence

import torch

from nacelle_runtime.batch import Chunk
from nacelle_runtime.request import Logprob
from nacelle_runtime.sampling.cuts import largest

# Rows of a prompt that are worked on at once: their float32 copies bound the memory it takes.
_ROWS = 64


def tell(own: torch.Tensor, tokens: Sequence[int], tops: Sequence[int]) -> list[Logprob]:
    """For each row of log-probabilities [N, vocab] its token's, and its `tops` likeliest."""
    ids = torch.tensor(tokens, dtype=torch.int64, device=own.device)[:, None]
    chosen = own.gather(1, ids)
    ranks: list[int] = ((own > chosen).sum(dim=-1) + 1).tolist()
    values: list[float] = chosen[:, 0].tolist()
    most = min(max(tops), own.shape[1])
    best_values, best_ids = (part.tolist() for part in largest(own, most))
    return [
        Logprob(value, rank, best_ids[row][:top], best_values[row][:top])
        for row, (value, rank, top) in enumerate(zip(values, ranks, tops, strict=True))
    ]


def score_prompts(logits: torch.Tensor, chunks: Sequence[Chunk]) -> dict[int, list[Logprob]]:
    """By chunk, what its score asks for: logits float32 [S, vocab], the scores' rows in order."""
    scores: dict[int, list[Logprob]] = {}
    if not len(logits):
        return scores
    first = 0
    for number, chunk in enumerate(chunks):
        if chunk.score is None:
            continue
        scores[number] = made = []
        targets, top = chunk.score.targets, chunk.score.top
        for start in range(0, len(targets), _ROWS):
            some = targets[start : start + _ROWS]
            rows = logits[first + start : first + start + len(some)]
            made += tell(torch.log_softmax(rows, dim=-1), some, [top] * len(some))
        first += len(targets)
    return scores
