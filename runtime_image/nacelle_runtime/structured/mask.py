"""Grammars in the logits: logit = -inf for every id that a row's grammar does not allow."""

from collections.abc import Sequence

import numpy as np
import torch

from nacelle_runtime.batch import Draw
from nacelle_runtime.upload import upload

_BITS = 32


def mask(logits: torch.Tensor, draws: Sequence[Draw]) -> None:
    """Apply each draw's grammar to its row of logits float32 [N, vocab], in place.

    The bits are made here, when the step's forward pass has been launched: on a GPU the host looks
    for them meanwhile. They are sent packed, [rows, ceil(vocab / 32)] int32.
    """
    asked = [(row, draw.matcher) for row, draw in enumerate(draws) if draw.matcher is not None]
    if not asked:
        return
    words = np.stack([np.frombuffer(matcher.allowed(), dtype=np.int32) for _, matcher in asked])
    rows = np.array([row for row, _ in asked], dtype=np.int64)
    device, vocabulary = logits.device, logits.shape[1]
    banned = ~unpack(upload(words, device), vocabulary)
    index = upload(rows, device)
    logits.index_copy_(0, index, logits.index_select(0, index).masked_fill_(banned, -torch.inf))


def unpack(words: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """Bits int32 [R, ceil(vocab / 32)] as bool [R, vocab]; bit b of word w is id 32 w + b."""
    places = torch.arange(_BITS, dtype=torch.int32, device=words.device)
    bits = (words[:, :, None] >> places) & 1
    return bits.flatten(1)[:, :vocabulary].bool()
