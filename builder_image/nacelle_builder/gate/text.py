"""The text that quality is measured on: our own plain English and code, a data file beside this.

It is cut into `samples` windows of equal length, one after the other; every token of a window but
its first is predicted from those before it, so the positions are samples * (length - 1).
"""

from pathlib import Path

import torch

from nacelle_builder.source.tokenizer import read_tokenizer
from nacelle_engine.errors import InvalidModel, InvalidRequest

TEXT = Path(__file__).with_name("text.txt")
LONGEST_WINDOW = 64
SHORTEST_WINDOW = 4


def text_ids(tokenizer_file: Path, vocab_size: int) -> list[int]:
    """The text's token ids; InvalidModel when the tokenizer cannot belong to the model."""
    tokenizer = read_tokenizer(tokenizer_file)
    ids: list[int] = tokenizer.encode(TEXT.read_text("utf-8"), add_special_tokens=False).ids
    if not ids or max(ids) >= vocab_size:
        raise InvalidModel(
            f"{tokenizer_file} gives token {max(ids, default=-1)}; "
            f"config.json has vocab_size {vocab_size}"
        )
    return ids


def windows(ids: list[int], samples: int, max_seq_len: int) -> torch.Tensor:
    """int64 [samples, length]: the text's windows, no two of which overlap."""
    length = min(len(ids) // samples, LONGEST_WINDOW, max_seq_len)
    if length < min(SHORTEST_WINDOW, max_seq_len):
        raise InvalidRequest(
            f"accuracy.samples {samples} is above {len(ids) // SHORTEST_WINDOW}: the built-in "
            f"text has {len(ids)} tokens of this model"
        )
    return torch.tensor(ids[: samples * length], dtype=torch.int64).view(samples, length)
