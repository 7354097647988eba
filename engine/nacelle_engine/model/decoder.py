"""The decoder in fused ops: the three modules that are compiled, with their weights as inputs.

The parameters of forward bear the names of the programs' inputs; a family without a bias or a
norm leaves it out.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from nacelle_engine.model.spec import LayerKind, ModelSpec

# The ops' schemas must stand before torch.ops.nacelle is traced.
from nacelle_engine.ops import (  # noqa: F401
    attention,
    linear,
    norm,
    norm_gate_up,
    norm_linear,
    norm_logits,
)

Tactics = Mapping[str, Sequence[int]]
_ops = torch.ops.nacelle
_ACTIVATIONS = {"silu": norm_gate_up.SILU, "gelu_tanh": norm_gate_up.GELU_TANH}


class Embed(nn.Module):
    """Tokens to the first layer's input: hidden [T, H], residual zeros [T, H], cos_sin [T, E]."""

    def __init__(self, spec: ModelSpec, compute: torch.dtype) -> None:
        super().__init__()
        # The families' code keeps the factor in the compute type, and rounds the product.
        scale = spec.embedding_scale
        self.scale = None if scale is None else torch.tensor(scale, dtype=compute).item()

    def forward(
        self,
        token_ids: torch.Tensor,
        positions: torch.Tensor,
        embedding: torch.Tensor,
        **rope_tables: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Look up the rows of `embedding` [V, H] and of each kind's table [S, E] (cos, sin)."""
        hidden = embedding[token_ids]
        if self.scale is not None:
            hidden = hidden * self.scale
        cos_sins = [table[positions] for table in rope_tables.values()]
        return hidden, torch.zeros_like(hidden, dtype=torch.float32), *cos_sins


class Layer(nn.Module):
    """One decoder layer of a kind; the residual stream is float32 and added in the norms."""

    def __init__(self, spec: ModelSpec, kind: LayerKind, tactics: Tactics) -> None:
        super().__init__()
        self.spec, self.kind, self.tactics = spec, kind, tactics

    def forward(
        self,
        hidden: torch.Tensor,
        residual: torch.Tensor,
        cos_sin: torch.Tensor,
        slots: torch.Tensor,
        q_start: torch.Tensor,
        block_table: torch.Tensor,
        seq_lens: torch.Tensor,
        input_norm: torch.Tensor,
        qkv: torch.Tensor,
        dense: torch.Tensor,
        post_norm: torch.Tensor,
        gate_up: torch.Tensor,
        down: torch.Tensor,
        kv: torch.Tensor,
        qkv_bias: torch.Tensor | None = None,
        q_norm: torch.Tensor | None = None,
        k_norm: torch.Tensor | None = None,
        dense_bias: torch.Tensor | None = None,
        attention_out_norm: torch.Tensor | None = None,
        mlp_out_norm: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(hidden, residual) of the next layer; the step's keys and values are added to `kv`."""
        spec, tactic, eps = self.spec, self.tactics, self.spec.norm_eps
        x, residual = _ops.norm_linear(
            hidden, residual, input_norm, qkv, qkv_bias, eps, tactic["qkv"]
        )
        x = _ops.attention(
            x, cos_sin, kv, slots, q_start, block_table, seq_lens, q_norm, k_norm,
            spec.num_heads, self.kind.window or 0, spec.attention_scale,
            spec.attention_soft_cap or 0.0, eps,
        )  # fmt: skip
        x = _ops.linear(x, dense, dense_bias, tactic["dense"])
        x = _normed(x, attention_out_norm, eps)
        x, residual = _ops.norm_gate_up(
            x, residual, post_norm, gate_up, eps, _ACTIVATIONS[spec.activation], tactic["gate_up"]
        )
        x = _ops.linear(x, down, None, tactic["down"])
        return _normed(x, mlp_out_norm, eps), residual


class Head(nn.Module):
    """The wanted rows' logits, float32 [L, V]."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.eps, self.soft_cap = spec.norm_eps, spec.logits_soft_cap or 0.0

    def forward(
        self,
        hidden: torch.Tensor,
        residual: torch.Tensor,
        logits_rows: torch.Tensor,
        final_norm: torch.Tensor,
        lm_head: torch.Tensor,
    ) -> torch.Tensor:
        """Norm and project the rows `logits_rows` [L] of the last layer's output."""
        logits: torch.Tensor = _ops.norm_logits(
            hidden[logits_rows], residual[logits_rows], final_norm, lm_head, self.eps, self.soft_cap
        )
        return logits


def _normed(x: torch.Tensor, weight: torch.Tensor | None, eps: float) -> torch.Tensor:
    """The norm of a block's output, where the family has one."""
    if weight is None:
        return x
    out: torch.Tensor = _ops.norm(x, weight, eps)
    return out
