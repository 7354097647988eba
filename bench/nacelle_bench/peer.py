"""The peer: transformers' generate() on the same prompts, threads and number of tokens."""

import time
from pathlib import Path

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
        prefill = self._generate(prompt, 1)
        return Seconds(prefill, self._generate(prompt, tokens) - prefill)

    @torch.inference_mode()
    def _generate(self, prompt: int, tokens: int) -> float:
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(self._model.config.vocab_size, (1, prompt), generator=generator)
        start = time.perf_counter()
        self._model.generate(  # type: ignore[misc]
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            do_sample=False,
            pad_token_id=0,
        )
        return time.perf_counter() - start
