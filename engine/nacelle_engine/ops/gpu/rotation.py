"""Heads as attention needs them: an optional RMS norm over head_dim, then the rotary position.

x'[j] = x[j] cos - x[j + D/2] sin, x'[j + D/2] = x[j + D/2] cos + x[j] sin, in fp32;
rope fp32 [S, D] holds D/2 cosines, then D/2 sines, for each position.
"""

import torch
import triton
import triton.language as tl


@triton.jit
def rotated(heads, live, columns, norm, angles, EPS: tl.constexpr, D: tl.constexpr):
    """Rows of heads [N, D] in fp32, 0 where not `live` [N, 1].

    heads: pointers [N, 1] to the first element; columns: arange(D) as [1, D]; norm: bf16 [D] or
    None; angles: pointer to the position's row of rope.
    """
    # Each element's partner is loaded again (from L1): cheaper than a shuffle of the tile's halves.
    partners = (columns + D // 2) % D
    x = tl.load(heads + columns, mask=live, other=0.0).to(tl.float32)
    partner = tl.load(heads + partners, mask=live, other=0.0).to(tl.float32)
    if norm is not None:
        scale = tl.rsqrt(tl.sum(x * x, 1) / D + EPS)[:, None]
        x = x * scale * tl.load(norm + columns).to(tl.float32)
        partner = partner * scale * tl.load(norm + partners).to(tl.float32)
    cosine = tl.load(angles + columns % (D // 2))
    sine = tl.load(angles + D // 2 + columns % (D // 2))
    return x * cosine + tl.where(columns < D // 2, -partner, partner) * sine


def reference(
    heads: torch.Tensor,
    angles: torch.Tensor,
    norm: torch.Tensor | None = None,
    eps: float = 0.0,
) -> torch.Tensor:
    """[T, heads, D] in float32 from heads of that shape and their rows of rope [T, D]."""
    x = heads.float()
    if norm is not None:
        x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * norm.float()
    cosine, sine = angles[:, None].chunk(2, dim=-1)
    low, high = x.chunk(2, dim=-1)
    return torch.cat((low * cosine - high * sine, high * cosine + low * sine), dim=-1)
