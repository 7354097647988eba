"""Root-mean-square norm after adding the residual: the prologue of the norm_* ops.

sum = hidden + residual
normed[t, k] = sum[t, k] / sqrt(mean over k of sum[t, k]^2 + eps) * norm[k]

hidden [T, K], norm [K] in the compute type; residual and sum [T, K] float32.
normed stays float32 in the FMA kernel; tiles and ATen take it rounded to the compute type.
"""

import torch

from nacelle_engine.ops import norm as plain


def reference(
    hidden: torch.Tensor, residual: torch.Tensor, norm: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(normed, sum) in float32."""
    total = hidden.float() + residual.float()
    return plain.reference(total, norm, eps), total
