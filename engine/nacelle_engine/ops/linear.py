"""nacelle::linear: the projection after attention and after the gated MLP.

out[t, n] = sum_k x[t, k] * weight[n, k] + bias[n]

x [T, K], weight [N, K], bias [N] (or None) in the compute type; sums in float32; out [T, N] in
the compute type.
tactic: {first T, candidate, next first T, candidate, ...}, see tactic.py.
"""

from collections.abc import Sequence

import torch

torch.library.define(
    "nacelle::linear", "(Tensor x, Tensor weight, Tensor? bias, int[] tactic) -> Tensor"
)


@torch.library.register_fake("nacelle::linear")  # type: ignore[untyped-decorator]
def _fake(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, tactic: Sequence[int]
) -> torch.Tensor:
    return x.new_empty(x.shape[0], weight.shape[0])


def reference(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """The formula in float32."""
    out = x.float() @ weight.float().T
    return out if bias is None else out + bias.float()
