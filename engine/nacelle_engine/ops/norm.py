"""nacelle::norm: the norm of a block's output before it joins the residual stream.

out[t, k] = x[t, k] / sqrt(mean over k of x[t, k]^2 + eps) * weight[k]

x [T, K], weight [K] in the compute type; sums in float32; out [T, K] in the compute type.
"""

import torch

torch.library.define("nacelle::norm", "(Tensor x, Tensor weight, float eps) -> Tensor")


@torch.library.register_fake("nacelle::norm")  # type: ignore[untyped-decorator]
def _fake(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    return torch.empty_like(x)


def reference(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """The formula in float32."""
    full = x.float()
    scale = torch.rsqrt(full.square().mean(-1, keepdim=True) + eps)
    return full * scale * weight.float()
