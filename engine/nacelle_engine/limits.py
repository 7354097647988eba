"""The sizes an engine is built for, under BuildConfig's names."""

from typing import Self

from pydantic import Field, model_validator

from nacelle_engine.frozen import Frozen

TOKENS_PER_BLOCK = 32


class Limits(Frozen):
    """What one engine can hold: requests a step, tokens a prompt, a sequence and a step."""

    max_batch_size: int = Field(default=64, ge=1, le=4096)
    """Requests that one step can hold."""

    max_input_len: int = Field(default=2048, ge=1, le=1_048_576)
    """Tokens that one prompt can have."""

    max_seq_len: int = Field(default=4096, ge=2, le=1_048_576)
    """Tokens that one prompt and its answer can have together."""

    max_num_tokens: int = Field(default=8192, ge=1, le=1_048_576)
    """Tokens that one step can hold, over all its requests."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.max_input_len >= self.max_seq_len:
            raise ValueError(
                f"maxInputLen {self.max_input_len} must be below maxSeqLen {self.max_seq_len}: "
                "a sequence is the prompt and at least one answer token"
            )
        if self.max_num_tokens < self.max_batch_size:
            raise ValueError(
                f"maxNumTokens {self.max_num_tokens} must be at least maxBatchSize "
                f"{self.max_batch_size}: a decode step holds one token a request"
            )
        return self
