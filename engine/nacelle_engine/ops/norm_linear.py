"""nacelle::norm_linear: the residual's addition, the norm, and the fused Q, K and V projection.

out[t, n] = sum_k normed[t, k] * weight[n, k] + bias[n], with normed and sum as rms_norm.py says

hidden [T, K], norm [K], weight [N, K], bias [N] (or None) in the compute type; residual [T, K]
float32.
Gives out [T, N] in the compute type and sum [T, K] float32.
"""

from collections.abc import Sequence

import torch

from nacelle_engine.ops import linear, rms_norm

torch.library.define(
    "nacelle::norm_linear",
    "(Tensor hidden, Tensor residual, Tensor norm, Tensor weight, Tensor? bias, float eps,"
    " int[] tactic) -> (Tensor, Tensor)",
)


@torch.library.register_fake("nacelle::norm_linear")  # type: ignore[untyped-decorator]
def _fake(
    hidden: torch.Tensor,
    residual: torch.Tensor,
    norm: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    eps: float,
    tactic: Sequence[int],
) -> tuple[torch.Tensor, torch.Tensor]:
    return hidden.new_empty(hidden.shape[0], weight.shape[0]), torch.empty_like(residual)


def reference(
    hidden: torch.Tensor,
    residual: torch.Tensor,
    norm: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The formula in float32."""
    normed, total = rms_norm.reference(hidden, residual, norm, eps)
    return linear.reference(normed, weight, bias), total
