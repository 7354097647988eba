"""What attention is measured on: a step's queries over the paged cache of several layers."""

from dataclasses import dataclass

import numpy as np
import torch

from nacelle_engine.limits import TOKENS_PER_BLOCK
from nacelle_engine.ops.gpu import prefill_attention
from nacelle_engine.ops.gpu.attention_shape import AttentionShape
from nacelle_engine.program.attention_plan import Int32s, PlanArrays, plan_arrays

# Layers take turns, so that none finds its cache in the L2; more than these change nothing.
_MOST_LAYERS = 32
_BLOCKS_AT_ONCE = 2048
_KV_SCALES = (0.011, 0.017)
_LARGEST_FP8 = 448.0


@dataclass(frozen=True)
class Case:
    """Requests of equal context; a request runs one query in decode, all of them in prefill."""

    requests: int
    context: int
    prefill: bool = False

    def __str__(self) -> str:
        return f"{'prefill' if self.prefill else 'decode'} {self.requests} x {self.context}"

    @property
    def lengths(self) -> tuple[Int32s, Int32s]:
        """(q_start [R + 1], seq_lens [R])."""
        starts = np.arange(self.requests + 1) * (self.context if self.prefill else 1)
        return starts.astype(np.int32), np.full(self.requests, self.context, np.int32)

    @property
    def tokens(self) -> int:
        """Queries of the step."""
        return self.requests * (self.context if self.prefill else 1)

    @property
    def blocks(self) -> int:
        """Blocks that one layer takes, the one that belongs to nobody included."""
        return self.requests * -(-self.context // TOKENS_PER_BLOCK) + 1

    def kv_bytes(self, shape: AttentionShape) -> int:
        """Bytes of keys and values that one layer must read."""
        width = shape.head_dim * (1 if shape.fp8 else 2)
        return 2 * shape.kv_heads * width * self.context * self.requests

    def operations(self, shape: AttentionShape) -> int:
        """Multiplications and additions of one layer's two products, causal ones alone."""
        seen = self.context * (self.context + 1) // 2 if self.prefill else self.context
        return 4 * shape.heads * shape.head_dim * self.requests * seen


@dataclass(frozen=True)
class Cache:
    """Random keys and values [B, 2, kv_heads, 32, D] as stored, with the scales of FP8."""

    kv: torch.Tensor
    scales: torch.Tensor | None


@dataclass(frozen=True)
class Workload:
    """A step and the caches it runs over.

    qkv          bf16 [T, (heads + 2 kv_heads) D]
    block_table  int32 [R, W], blocks scattered
    layers       each [B, 2, kv_heads, 32, D]
    kv_scales    fp32 [2] for FP8
    """

    shape: AttentionShape
    step: PlanArrays
    qkv: torch.Tensor
    block_table: torch.Tensor
    layers: tuple[torch.Tensor, ...]
    kv_scales: torch.Tensor | None

    @property
    def q(self) -> torch.Tensor:
        """The queries [T, heads, D], a slice of qkv."""
        width = self.shape.heads * self.shape.head_dim
        return self.qkv[:, :width].view(-1, self.shape.heads, self.shape.head_dim)

    def error(self, out: torch.Tensor, queries: torch.Tensor, requests: int) -> float:
        """|out - wanted| / |wanted| over the first requests of layer 0, wanted in fp32."""
        few = min(requests, self.step.requests)
        rows = int(self.step.q_start[few])
        wanted = prefill_attention.reference(
            queries[:rows].flatten(1),
            self.layers[0],
            self.block_table[:few],
            torch.from_numpy(self.step.q_start[: few + 1]),
            torch.from_numpy(self.step.seq_lens[:few]),
            self.shape,
            kv_scales=self.kv_scales,
        )
        return float((out[:rows].flatten(1).float() - wanted).norm() / wanted.norm())


def random_cache(shape: AttentionShape, blocks: int, device: torch.device) -> Cache:
    """Normally distributed values in so many blocks."""
    dtype = torch.float8_e4m3fn if shape.fp8 else torch.bfloat16
    size = (blocks, 2, shape.kv_heads, TOKENS_PER_BLOCK, shape.head_dim)
    kv = torch.empty(size, dtype=dtype, device=device)
    scales = torch.tensor(_KV_SCALES, device=device) if shape.fp8 else None
    for part in torch.split(kv, _BLOCKS_AT_ONCE):
        values = torch.randn(part.shape, device=device)
        if scales is not None:
            values = (values / scales.view(1, 2, 1, 1, 1)).clamp(-_LARGEST_FP8, _LARGEST_FP8)
        part.copy_(values)
    return Cache(kv, scales)


def workload(
    shape: AttentionShape, q_start: Int32s, seq_lens: Int32s, cache: Cache, spare: int = 0
) -> Workload:
    """A step over as many layers as the cache holds; spare: columns of the table beyond use."""
    device, used = cache.kv.device, -(-seq_lens // TOKENS_PER_BLOCK)
    blocks = int(used.sum()) + 1
    layers = [layer for layer in torch.split(cache.kv, blocks) if len(layer) == blocks]
    step = plan_arrays(q_start, seq_lens, int(used.max()) + spare)
    width = (shape.heads + 2 * shape.kv_heads) * shape.head_dim
    return Workload(
        shape=shape,
        step=step,
        qkv=torch.randn(step.tokens, width, device=device).bfloat16(),
        block_table=block_table(seq_lens, int(used.max()) + spare).to(device),
        layers=tuple(layers[:_MOST_LAYERS]),
        kv_scales=cache.scales,
    )


def block_table(seq_lens: Int32s, width: int, seed: int = 0) -> torch.Tensor:
    """int32 [R, width] on the host: every block but 0 once, in random order; 0 where unused."""
    used = -(-seq_lens // TOKENS_PER_BLOCK)
    order = np.random.default_rng(seed).permutation(np.arange(1, int(used.sum()) + 1))
    table = np.zeros((len(seq_lens), width), np.int32)
    table[np.arange(width) < used[:, None]] = order
    return torch.from_numpy(table)
