"""What changes logits before a temperature does, in this order.

grammar               logit = -inf for what it does not allow (structured/mask.py)
banned                logit = -inf
logit_bias            logit += bias
repetition_penalty    logit / r if logit > 0 else logit * r, for ids in the prompt or the answer
frequency, presence   logit -= frequency * (times in the answer) + presence, for ids in the answer

Only the ids concerned are touched, those of all rows at once.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from nacelle_runtime.batch import Draw
from nacelle_runtime.structured.mask import mask
from nacelle_runtime.upload import upload


class _Cells:
    """Places in logits and a number for each: (row, id, value)."""

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._ids: list[int] = []
        self._values: list[float] = []

    def add(self, row: int, ids: Iterable[int], values: Iterable[float]) -> None:
        """More cells of one row."""
        before = len(self._ids)
        self._ids.extend(ids)
        self._values.extend(values)
        self._rows.extend([row] * (len(self._ids) - before))

    def __bool__(self) -> bool:
        return bool(self._rows)

    def tensors(self, device: torch.device) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
        """The index (rows, ids) int64 [C] and the values float32 [C]."""
        index = upload(np.array([self._rows, self._ids], dtype=np.int64), device)
        values = upload(np.array(self._values, dtype=np.float32), device)
        return (index[0], index[1]), values


def transform(logits: torch.Tensor, draws: Sequence[Draw]) -> None:
    """Apply what each draw asks for to its row of logits float32 [N, vocab], in place."""
    mask(logits, draws)
    banned, biases, repeated, counted = _Cells(), _Cells(), _Cells(), _Cells()
    for row, draw in enumerate(draws):
        sampling, seen = draw.sampling, draw.seen
        if draw.banned:
            banned.add(row, draw.banned, [-torch.inf] * len(draw.banned))
        if sampling.logit_bias:
            biases.add(row, sampling.logit_bias.keys(), sampling.logit_bias.values())
        if seen is None:
            continue
        if sampling.repetition_penalty != 1:
            ids = seen.prompt | seen.answer.keys()
            repeated.add(row, ids, [sampling.repetition_penalty] * len(ids))
        frequency, presence = sampling.frequency_penalty, sampling.presence_penalty
        if frequency or presence:
            counts = seen.answer
            counted.add(row, counts.keys(), [frequency * n + presence for n in counts.values()])
    device = logits.device
    for cells in (banned, biases):
        if cells:
            index, values = cells.tensors(device)
            logits[index] += values
    if repeated:
        index, values = repeated.tensors(device)
        old = logits[index]
        logits[index] = torch.where(old > 0, old / values, old * values)
    if counted:
        index, values = counted.tensors(device)
        logits[index] -= values
