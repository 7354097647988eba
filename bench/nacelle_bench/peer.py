"""The peer: transformers' generate() on the same prompts, threads and number of tokens."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from transformers import AutoModelForCausalLM

from nacelle_bench.decode import Seconds


class Peer:
    """A checkpoint loaded by transformers in one type."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)

    def seconds(self, prompt: int, tokens: int) -> Seconds:
        """Time of one stream: a random prompt, then exactly `tokens` greedy tokens.

        generate() times no part by itself: its prefill is a run of one token.
        """
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(self._model.config.vocab_size, (1, prompt), generator=generator)
        prefill = self.generate(ids.tolist(), 1)
        return Seconds(prefill, self.generate(ids.tolist(), tokens) - prefill)

    @torch.inference_mode()
    def generate(self, prompts: Sequence[Sequence[int]], tokens: int) -> float:
        """Seconds to answer prompts of equal length together, each with `tokens` greedy tokens."""
        ids = torch.tensor(prompts)
        start = time.perf_counter()
        answered = cast(
            torch.Tensor,
            self._model.generate(  # type: ignore[misc]
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=tokens,
                min_new_tokens=tokens,
                do_sample=False,
                pad_token_id=0,
            ),
        )
        seconds = time.perf_counter() - start
        assert answered.shape == (len(prompts), len(prompts[0]) + tokens)
        return seconds
