"""The decoder in fused ops: the three modules that are compiled, with their weights as inputs."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from nacelle_engine.model.spec import ModelSpec

# The ops' schemas must stand before torch.ops.nacelle is traced.
from nacelle_engine.ops import attention, linear, norm_gate_up, norm_linear, norm_logits  # noqa: F401

Tactics = Mapping[str, Sequence[int]]
_ops = torch.ops.nacelle


class Embed(nn.Module):
    """Tokens to the first layer's input: hidden [T, H], residual zeros [T, H], cos_sin [T, D]."""

    def forward(
        self,
        token_ids: torch.Tensor,
        positions: torch.Tensor,
        embedding: torch.Tensor,
        rope_table: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Look up the rows of `embedding` [V, H] and of `rope_table` [S, D] (cosines, sines)."""
        hidden = embedding[token_ids]
        return hidden, torch.zeros_like(hidden, dtype=torch.float32), rope_table[positions]


class Layer(nn.Module):
    """One decoder layer in five ops; the residual stream is float32 and added in the norms."""

    def __init__(self, spec: ModelSpec, tactics: Tactics) -> None:
        super().__init__()
        self.heads, self.eps, self.tactics = spec.num_heads, spec.norm_eps, tactics

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
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(hidden, residual) of the next layer; the step's keys and values are added to `kv`."""
        tactic = self.tactics
        x, residual = _ops.norm_linear(hidden, residual, input_norm, qkv, self.eps, tactic["qkv"])
        x = _ops.attention(x, cos_sin, kv, slots, q_start, block_table, seq_lens, self.heads)
        x = _ops.linear(x, dense, tactic["dense"])
        x, residual = _ops.norm_gate_up(
            x, residual, post_norm, gate_up, self.eps, tactic["gate_up"]
        )
        return _ops.linear(x, down, tactic["down"]), residual


class Head(nn.Module):
    """The wanted rows' logits, float32 [L, V]."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.eps = spec.norm_eps

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
            hidden[logits_rows], residual[logits_rows], final_norm, lm_head, self.eps
        )
        return logits
