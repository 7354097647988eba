"""What one decoder is: sizes and choices that model, programs and checkpoint share."""

from typing import Literal, Self

from pydantic import Field, model_validator

from nacelle_engine.frozen import Frozen


class ModelSpec(Frozen):
    """A decoder of the Llama shape: pre-norm, rotary positions, grouped queries, gated MLP.

    inverse_frequencies [head_dim / 2]: the rotary angle of pair j at position p is p * f[j].
    """

    family: str
    vocab_size: int = Field(ge=2)
    hidden_size: int = Field(ge=8)
    intermediate_size: int = Field(ge=8)
    num_layers: int = Field(ge=1)
    num_heads: int = Field(ge=1)
    num_kv_heads: int = Field(ge=1)
    head_dim: int = Field(ge=8)
    max_position_embeddings: int = Field(ge=2)
    norm_eps: float = Field(gt=0)
    rope_theta: float = Field(gt=0)
    inverse_frequencies: tuple[float, ...]
    tied_embeddings: bool
    activation: Literal["silu"] = "silu"

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_attention_heads {self.num_heads} must be a multiple of "
                f"num_key_value_heads {self.num_kv_heads}"
            )
        # The kernels step through rows in whole 512-bit registers of floats.
        for name in ("hidden_size", "intermediate_size", "head_dim"):
            if getattr(self, name) % 16:
                raise ValueError(f"{name} {getattr(self, name)} must be a multiple of 16")
        if len(self.inverse_frequencies) * 2 != self.head_dim:
            raise ValueError("inverse_frequencies must hold one number for each pair of head_dim")
        return self

    @property
    def q_size(self) -> int:
        """Width of all query heads together."""
        return self.num_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Width of all key (or value) heads together."""
        return self.num_kv_heads * self.head_dim
