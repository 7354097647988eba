"""Heads as attention needs them: an optional RMS norm over head_dim, then the rotary position.

x'[j] = x[j] cos - x[j + E/2] sin, x'[j + E/2] = x[j + E/2] cos + x[j] sin for j < E/2, in fp32;
the dimensions from E on stay. rope fp32 [S, E] holds E/2 cosines, then E/2 sines, for each
position.
"""

import torch
import triton
import triton.language as tl

from nacelle_engine.ops.gpu.paged_kv import head_rows


@triton.jit
def rotated(
    heads, live, columns, norm, angles, EPS: tl.constexpr, D: tl.constexpr, E: tl.constexpr
):
    """Rows of heads [N, columns] in fp32, 0 where not `live` [N, 1] and from D on.

    heads: pointers [N, 1] to the first element; columns: an arange from 0 as [1, columns]; norm:
    bf16 [D] or None; angles: pointer to the position's row of rope.
    """
    if columns.shape[1] > D:
        live = live & (columns < D)
    angle = columns % (E // 2)
    cosine = tl.load(angles + angle)
    sine = tl.load(angles + E // 2 + angle)
    # Each element's partner is loaded again (from L1): cheaper than a shuffle of the tile's halves.
    partners = (columns + E // 2) % E
    if E < D:
        turns = columns < E
        partners = tl.where(turns, partners, tl.minimum(columns, D - 1))
        cosine = tl.where(turns, cosine, 1.0)
        sine = tl.where(turns, sine, 0.0)
    x = tl.load(heads + columns, mask=live, other=0.0).to(tl.float32)
    partner = tl.load(heads + partners, mask=live, other=0.0).to(tl.float32)
    if norm is not None:
        scale = tl.rsqrt(tl.sum(x * x, 1) / D + EPS)[:, None]
        x = x * scale * head_rows(norm + columns, columns, D).to(tl.float32)
        partner = partner * scale * tl.load(norm + partners).to(tl.float32)
    return x * cosine + tl.where(columns < E // 2, -partner, partner) * sine


def reference(
    heads: torch.Tensor,
    angles: torch.Tensor,
    norm: torch.Tensor | None = None,
    eps: float = 0.0,
) -> torch.Tensor:
    """[T, heads, D] in float32 from heads of that shape and their rows of rope [T, E]."""
    x = heads.float()
    if norm is not None:
        x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * norm.float()
    cosine, sine = angles[:, None].chunk(2, dim=-1)
    turned, rest = x[..., : angles.shape[1]], x[..., angles.shape[1] :]
    low, high = turned.chunk(2, dim=-1)
    return torch.cat((low * cosine - high * sine, high * cosine + low * sine, rest), dim=-1)
