"""Rope of a step's queries and keys, and the append of its K and V to the paged cache.

q_out[t] = rope(norm(q[t])), and k = rope(norm(k[t])), v[t] are kept at slots[t] = block * 32 +
place (rotation.py, paged_kv.py; the norm where q_norm is given).

qkv bf16 [T, (heads + 2 kv_heads) D]; rope fp32 [S, E]; positions, slots int64 [T];
kv [B, 2, kv_heads, 32, D]; kv_scales fp32 [2]; q_norm, k_norm bf16 [D]; q_out [T, heads D], bf16
or FP8 E4M3: then values beyond 448 become 448.
Padding has slots in block 0, which belongs to nobody.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from nacelle_engine.ops.gpu import paged_kv, rotation
from nacelle_engine.ops.gpu.attention_shape import AttentionShape
from nacelle_engine.ops.gpu.capability import depends
from nacelle_engine.ops.gpu.fp8 import to_fp8
from nacelle_engine.ops.gpu.kernel import Kernel
from nacelle_engine.ops.gpu.paged_kv import kept
from nacelle_engine.ops.gpu.rotation import rotated
from nacelle_engine.program.launch import ONE, Size


@dataclass(frozen=True)
class Choice:
    """A program takes one token; only its number of warps varies."""

    warps: int = 4


def choices(shape: AttentionShape) -> tuple[Choice, ...]:
    """Candidates, the safe one first."""
    return Choice(4), Choice(8), Choice(2)


def kernel(shape: AttentionShape, choice: Choice, *, fp8_queries: bool = False) -> Kernel:
    """Grid (T)."""
    codes = "_codes" if fp8_queries else ""
    return Kernel(
        name=f"rope_append_{shape.name}{codes}_w{choice.warps}",
        function=rope_append,
        arguments={
            **shape.arguments(
                {"qkv": "*bf16", "rope": "*fp32", "positions": "*i64", "slots": "*i64"}, norms=True
            ),
            "q_out": "*fp8e4nv" if fp8_queries else "*bf16",
        },
        constants={
            **shape.absent(norms=True),
            "HEADS": shape.heads,
            "KV_HEADS": shape.kv_heads,
            "D": shape.head_dim,
            "E": shape.rotary,
            "BLOCK_D": shape.block_dim,
            "EPS": shape.norm_eps or 0.0,
            "Q_ROWS": triton.next_power_of_2(shape.heads),
            "KV_ROWS": triton.next_power_of_2(shape.kv_heads),
            "DEPENDENT": depends(shape.architecture),
        },
        grid=(Size(symbol="T"), ONE, ONE),
        warps=choice.warps,
        dependent=depends(shape.architecture),
    )


@triton.jit
def rope_append(
    qkv,
    rope,
    positions,
    slots,
    kv,
    kv_scales,
    q_norm,
    k_norm,
    q_out,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    BLOCK_D: tl.constexpr,
    EPS: tl.constexpr,
    Q_ROWS: tl.constexpr,
    KV_ROWS: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    """All heads of one token."""
    token = tl.program_id(0).to(tl.int64)
    if DEPENDENT:
        gdc_launch_dependents()
    angles = rope + tl.load(positions + token) * E
    slot = tl.load(slots + token)
    if DEPENDENT:
        gdc_wait()
    column = tl.arange(0, BLOCK_D)[None, :]
    heads = qkv + token * ((HEADS + 2 * KV_HEADS) * D)
    row = tl.arange(0, Q_ROWS)[:, None]
    q = rotated(heads + row * D, row < HEADS, column, q_norm, angles, EPS, D, E)
    place = q_out + token * (HEADS * D) + row * D + column
    live = (row < HEADS) & (column < D)
    if q_out.dtype.element_ty == tl.bfloat16:
        tl.store(place, q.to(tl.bfloat16), mask=live)
    else:
        tl.store(place, to_fp8(q, q_out), mask=live)

    row = tl.arange(0, KV_ROWS)[:, None]
    live = (row < KV_HEADS) & (column < D)
    heads += HEADS * D + row * D
    k = rotated(heads, live, column, k_norm, angles, EPS, D, E)
    v = tl.load(heads + KV_HEADS * D + column, mask=live, other=0.0).to(tl.float32)
    place = kv + (slot // 32) * (2 * KV_HEADS * 32 * D) + slot % 32 * D + row * (32 * D) + column
    tl.store(place, kept(k, kv, kv_scales, 0), mask=live)
    tl.store(place + KV_HEADS * 32 * D, kept(v, kv, kv_scales, 1), mask=live)


def reference(
    qkv: torch.Tensor,
    rope: torch.Tensor,
    positions: torch.Tensor,
    slots: torch.Tensor,
    kv: torch.Tensor,
    shape: AttentionShape,
    *,
    kv_scales: torch.Tensor | None = None,
    q_norm: torch.Tensor | None = None,
    k_norm: torch.Tensor | None = None,
) -> torch.Tensor:
    """q_out in float32; appends to kv as the kernel does."""
    heads, kv_heads, eps = shape.heads, shape.kv_heads, shape.norm_eps or 0.0
    parts = qkv.float().view(qkv.shape[0], -1, shape.head_dim)
    q, k, v = parts.split((heads, kv_heads, kv_heads), dim=1)
    angles = rope[positions]
    q = rotation.reference(q, angles, q_norm, eps)
    k = rotation.reference(k, angles, k_norm, eps)
    paged_kv.store(kv, slots, k, v, kv_scales)
    return q.flatten(1)
