"""nacelle::attention: head norms, rotary positions, the append to the paged cache, and attention.

For token t of request r (q_start[r] <= t < q_start[r + 1]) at position p = seq_lens[r] -
q_start[r + 1] + t, and query head h with KV head g = h // (heads / kv_heads):
q, k = x / sqrt(mean(x^2) + eps) * norm for each head, where there are norms; then
q'[j] = q[j] cos - q[j + E/2] sin, q'[j + E/2] = q[j + E/2] cos + q[j] sin for j < E/2, with E the
rotated dimensions; those from E on stay; k' likewise;
k' and v are written to the cache at slots[t] = block * 32 + place, for all tokens first;
score_i = scale q' . k'_i, with a soft_cap above 0 then soft_cap * tanh(score_i / soft_cap);
out[t, h] = sum over positions i of softmax_i(score) v_i, p - window < i <= p (window 0: i <= p).

qkv [T, (heads + 2 kv_heads) * D] and kv [B, 2, kv_heads, 32, D] in the compute type (K at index 0
of dimension 1); cos_sin [T, E] float32, cosines then sines; slots [T] int64; q_start [R + 1],
block_table [R, MB] and seq_lens [R] int32; q_norm, k_norm [D] in the compute type, or None. Gives
out [T, heads * D] in the compute type. Rows of tokens that belong to no request are not written.
Keys are taken block after block, each query by itself, so a query's result depends on nothing but
its own sequence.
"""

import torch

from nacelle_engine.ops import norm

torch.library.define(
    "nacelle::attention",
    "(Tensor qkv, Tensor cos_sin, Tensor(a!) kv, Tensor slots, Tensor q_start,"
    " Tensor block_table, Tensor seq_lens, Tensor? q_norm, Tensor? k_norm, int heads, int window,"
    " float scale, float soft_cap, float eps) -> Tensor",
)


@torch.library.register_fake("nacelle::attention")  # type: ignore[untyped-decorator]
def _fake(
    qkv: torch.Tensor,
    cos_sin: torch.Tensor,
    kv: torch.Tensor,
    slots: torch.Tensor,
    q_start: torch.Tensor,
    block_table: torch.Tensor,
    seq_lens: torch.Tensor,
    q_norm: torch.Tensor | None,
    k_norm: torch.Tensor | None,
    heads: int,
    window: int,
    scale: float,
    soft_cap: float,
    eps: float,
) -> torch.Tensor:
    return qkv.new_empty(qkv.shape[0], heads * kv.shape[4])


def reference(
    qkv: torch.Tensor,
    cos_sin: torch.Tensor,
    kv: torch.Tensor,
    slots: torch.Tensor,
    q_start: torch.Tensor,
    block_table: torch.Tensor,
    seq_lens: torch.Tensor,
    q_norm: torch.Tensor | None,
    k_norm: torch.Tensor | None,
    heads: int,
    window: int,
    scale: float,
    soft_cap: float,
    eps: float,
) -> torch.Tensor:
    """The formula in float32, one request after another; the cache is written like the op's."""
    tokens, kv_heads, size, dim = qkv.shape[0], kv.shape[2], kv.shape[3], kv.shape[4]
    parts = qkv.float().view(tokens, heads + 2 * kv_heads, dim)
    q, k = parts[:, :heads], parts[:, heads : heads + kv_heads]
    v = parts[:, heads + kv_heads :]
    q = q if q_norm is None else norm.reference(q, q_norm, eps)
    k = k if k_norm is None else norm.reference(k, k_norm, eps)
    q, k = _rotate(q, cos_sin), _rotate(k, cos_sin)
    kv[slots // size, 0, :, slots % size] = k.to(kv.dtype)
    kv[slots // size, 1, :, slots % size] = v.to(kv.dtype)
    out = torch.zeros(tokens, heads, dim)
    for r, (first, last) in enumerate(
        zip(q_start[:-1].tolist(), q_start[1:].tolist(), strict=True)
    ):
        length = int(seq_lens[r])
        blocks = kv[block_table[r, : -(-length // size)].long()].float()
        keys, values = (
            blocks[:, part].transpose(1, 2).reshape(-1, kv_heads, dim)[:length] for part in (0, 1)
        )
        out[first:last] = _attend(q[first:last], keys, values, window, scale, soft_cap)
    return out.view(tokens, heads * dim)


def _rotate(x: torch.Tensor, cos_sin: torch.Tensor) -> torch.Tensor:
    cosine, sine = cos_sin[:, None].chunk(2, dim=-1)
    rotated, rest = x[..., : cos_sin.shape[1]], x[..., cos_sin.shape[1] :]
    low, high = rotated.chunk(2, dim=-1)
    return torch.cat((low * cosine - high * sine, high * cosine + low * sine, rest), dim=-1)


def _attend(
    q: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    window: int,
    scale: float,
    soft_cap: float,
) -> torch.Tensor:
    tokens, heads, _ = q.shape
    group = heads // keys.shape[1]
    keys, values = (x.repeat_interleave(group, dim=1) for x in (keys, values))
    scores = torch.einsum("thd,ihd->hti", q, keys) * scale
    if soft_cap > 0:
        scores = soft_cap * torch.tanh(scores / soft_cap)
    length = keys.shape[0]
    position = torch.arange(length - tokens, length)[:, None]
    key = torch.arange(length)[None]
    hidden = (key > position) | (key <= position - (window or length))
    scores.masked_fill_(hidden, float("-inf"))
    return torch.einsum("hti,ihd->thd", scores.softmax(-1), values)
