"""What one decoder is: sizes and choices that model, programs and checkpoint share."""

import math
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from nacelle_engine.frozen import Frozen

KindName = Literal["full", "sliding"]


class LayerKind(Frozen):
    """How the layers of one kind attend; one program is compiled for each.

    window: a token sees its own and the `window` - 1 tokens before it; None sees all.
    inverse_frequencies: the rotary angle of pair j at position p is p * f[j].
    """

    name: KindName
    window: int | None
    rope_theta: float
    inverse_frequencies: tuple[float, ...]


def _all_full(data: dict[str, Any]) -> tuple[KindName, ...]:
    kind: KindName = "full"
    return (kind,) * int(data["num_layers"])


class ModelSpec(Frozen):
    """A decoder: pre-norm, rotary positions, grouped queries, gated MLP, and what families add.

    inverse_frequencies [rotary_dim / 2]: the angle of pair j at position p is p * f[j]; the
    head's dimensions from rotary_dim on are not rotated. Sliding layers may have their own base.
    layer_types: the kind of each layer; all are "full" when none is told.
    qkv_bias, dense_bias: biases of the attention's projections, in and out.
    qk_norm: RMS norm of every query and key head, before the rotation.
    output_norms: RMS norms of the attention's and MLP's outputs, before they join the stream.
    embedding_scale: the embedding's rows are multiplied by it (rounded to the compute type).
    query_pre_attn_scalar: scores are q . k / sqrt(query_pre_attn_scalar).
    attention_soft_cap, logits_soft_cap: x becomes cap * tanh(x / cap); None leaves x.
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
    activation: Literal["silu", "gelu_tanh"] = "silu"
    layer_types: tuple[KindName, ...] = Field(default_factory=_all_full)
    sliding_window: int | None = Field(default=None, ge=1)
    sliding_rope_theta: float | None = Field(default=None, gt=0)
    sliding_inverse_frequencies: tuple[float, ...] | None = None
    qkv_bias: bool = False
    dense_bias: bool = False
    qk_norm: bool = False
    output_norms: bool = False
    embedding_scale: float | None = Field(default=None, gt=0)
    query_pre_attn_scalar: float = Field(default_factory=lambda data: data["head_dim"], gt=0)
    attention_soft_cap: float | None = Field(default=None, gt=0)
    logits_soft_cap: float | None = Field(default=None, gt=0)

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
        if not 1 <= len(self.inverse_frequencies) <= self.head_dim // 2:
            raise ValueError("inverse_frequencies must hold one number for each rotated pair")
        sliding = self.sliding_inverse_frequencies
        if sliding is not None and len(sliding) != len(self.inverse_frequencies):
            raise ValueError("sliding_inverse_frequencies must be as many as inverse_frequencies")
        self._agree_layers()
        return self

    def _agree_layers(self) -> None:
        if len(self.layer_types) != self.num_layers:
            raise ValueError(
                f"layer_types names {len(self.layer_types)} layers, "
                f"num_hidden_layers is {self.num_layers}"
            )
        if "sliding" in self.layer_types and self.sliding_window is None:
            raise ValueError("layer_types has sliding layers, but sliding_window is null")

    @property
    def q_size(self) -> int:
        """Width of all query heads together."""
        return self.num_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Width of all key (or value) heads together."""
        return self.num_kv_heads * self.head_dim

    @property
    def rotary_dim(self) -> int:
        """How many of a head's dimensions are rotated."""
        return 2 * len(self.inverse_frequencies)

    @property
    def attention_scale(self) -> float:
        """What q . k is multiplied by."""
        return 1.0 / math.sqrt(self.query_pre_attn_scalar)

    @property
    def kinds(self) -> tuple[LayerKind, ...]:
        """The kinds that the layers are of, "full" first."""
        full = LayerKind(
            name="full",
            window=None,
            rope_theta=self.rope_theta,
            inverse_frequencies=self.inverse_frequencies,
        )
        sliding = LayerKind(
            name="sliding",
            window=self.sliding_window,
            rope_theta=self.sliding_rope_theta or self.rope_theta,
            inverse_frequencies=self.sliding_inverse_frequencies or self.inverse_frequencies,
        )
        return tuple(kind for kind in (full, sliding) if kind.name in self.layer_types)
