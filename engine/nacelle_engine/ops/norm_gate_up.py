"""nacelle::norm_gate_up: the residual's addition, the norm, gate and up projections, act * mul.

gate = normed @ weight[:N].T, up = normed @ weight[N:].T, with normed and sum as rms_norm.py says
out = act(gate) * up
activation SILU: act(x) = x / (1 + exp(-x))
activation GELU_TANH: act(x) = x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2

hidden [T, K], norm [K], weight [2 N, K] in the compute type; residual [T, K] float32.
Gives out [T, N] in the compute type and sum [T, K] float32.
"""

from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F

from nacelle_engine.ops import rms_norm

SILU: Final = 0
GELU_TANH: Final = 1

torch.library.define(
    "nacelle::norm_gate_up",
    "(Tensor hidden, Tensor residual, Tensor norm, Tensor weight, float eps,"
    " int activation, int[] tactic) -> (Tensor, Tensor)",
)


@torch.library.register_fake("nacelle::norm_gate_up")  # type: ignore[untyped-decorator]
def _fake(
    hidden: torch.Tensor,
    residual: torch.Tensor,
    norm: torch.Tensor,
    weight: torch.Tensor,
    eps: float,
    activation: int,
    tactic: Sequence[int],
) -> tuple[torch.Tensor, torch.Tensor]:
    return hidden.new_empty(hidden.shape[0], weight.shape[0] // 2), torch.empty_like(residual)


def reference(
    hidden: torch.Tensor,
    residual: torch.Tensor,
    norm: torch.Tensor,
    weight: torch.Tensor,
    eps: float,
    activation: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The formula in float32."""
    normed, total = rms_norm.reference(hidden, residual, norm, eps)
    gate, up = (normed @ weight.float().T).chunk(2, dim=-1)
    act = F.silu(gate) if activation == SILU else F.gelu(gate, approximate="tanh")
    return act * up, total
