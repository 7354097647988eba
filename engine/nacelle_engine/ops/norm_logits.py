"""nacelle::norm_logits: the residual's addition, the last norm, and the projection to the words.

logits[l, v] = sum_k normed[l, k] * weight[v, k], with normed as rms_norm.py says;
with a soft_cap above 0 then soft_cap * tanh(logits / soft_cap)

hidden [L, K], norm [K], weight [V, K] in the compute type; residual [L, K] float32.
Gives logits [L, V] float32, never rounded to the compute type.
"""

import torch

from nacelle_engine.ops import rms_norm

torch.library.define(
    "nacelle::norm_logits",
    "(Tensor hidden, Tensor residual, Tensor norm, Tensor weight, float eps,"
    " float soft_cap) -> Tensor",
)


@torch.library.register_fake("nacelle::norm_logits")  # type: ignore[untyped-decorator]
def _fake(
    hidden: torch.Tensor,
    residual: torch.Tensor,
    norm: torch.Tensor,
    weight: torch.Tensor,
    eps: float,
    soft_cap: float,
) -> torch.Tensor:
    return residual.new_empty(hidden.shape[0], weight.shape[0])


def reference(
    hidden: torch.Tensor,
    residual: torch.Tensor,
    norm: torch.Tensor,
    weight: torch.Tensor,
    eps: float,
    soft_cap: float,
) -> torch.Tensor:
    """The formula in float32."""
    logits = rms_norm.reference(hidden, residual, norm, eps)[0] @ weight.float().T
    return soft_cap * torch.tanh(logits / soft_cap) if soft_cap > 0 else logits
