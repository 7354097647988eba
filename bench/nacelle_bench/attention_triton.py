"""Our own attention kernels as contenders, compiled where they run.

Decode includes what its launch does beside attention: rope, and the append of the newest token.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from nacelle_bench.attention_contender import Contender
from nacelle_bench.attention_workload import Workload
from nacelle_engine.limits import TOKENS_PER_BLOCK
from nacelle_engine.ops.gpu import decode_attention, prefill_attention
from nacelle_engine.ops.gpu.kernel import Kernel
from nacelle_engine.program.launch import Symbol
from nacelle_engine.program.tiles import tiles

NAME = "Triton"


def decode_contenders(work: Workload, *, every: bool) -> Iterator[Contender]:
    """The first choice for this batch, or every one."""
    requests = work.step.requests
    found = decode_attention.choices(work.shape, requests)
    return (_decode(work, choice) for choice in (found if every else found[:1]))


def prefill_contenders(work: Workload, *, every: bool) -> Iterator[Contender]:
    """The first choice, or every one."""
    found = prefill_attention.choices(work.shape)
    return (_prefill(work, choice) for choice in (found if every else found[:1]))


def _decode(work: Workload, choice: decode_attention.Choice) -> Contender:
    requests, device = work.step.requests, work.qkv.device
    floats, counts = decode_attention.workspace(work.shape, choice, requests)
    tensors = {
        **_shared(work),
        "qkv": _with_newest(work),
        "rope": _no_rotation(work),
        "partial": torch.empty(floats, device=device),
        "counters": torch.zeros(counts, dtype=torch.int32, device=device),
    }
    return _contender(work, decode_attention.kernel(work.shape, choice), tensors, {"R": requests})


def _prefill(work: Workload, choice: prefill_attention.Choice) -> Contender:
    block_q = prefill_attention.block_q(work.shape, choice)
    request, first = tiles(work.step.q_start, block_q)
    device = work.qkv.device
    tensors = {
        **_shared(work),
        "q": work.q.flatten(1).contiguous(),
        "q_start": torch.from_numpy(work.step.q_start).to(device),
        "tile_request": torch.from_numpy(request).to(device),
        "tile_first": torch.from_numpy(first).to(device),
    }
    kernel = prefill_attention.kernel(work.shape, choice)
    return _contender(work, kernel, tensors, {"Q": len(request)})


def _contender(
    work: Workload, kernel: Kernel, tensors: Mapping[str, Any], sizes: dict[Symbol, int]
) -> Contender:
    out = torch.full(work.q.shape, torch.nan, dtype=torch.bfloat16, device=work.qkv.device)

    def attend(layer: int) -> torch.Tensor:
        launch(kernel, {**tensors, "out": out, "kv": work.layers[layer]}, sizes)
        return out

    return Contender(NAME, attend, work.q)


def launch(kernel: Kernel, tensors: Mapping[str, Any], sizes: dict[Symbol, int]) -> None:
    """Launch a kernel through Triton, which compiles it at its first launch."""
    kernel.function[tuple(size.of(sizes) for size in kernel.grid)](
        **{name: tensors[name] for name in kernel.arguments},
        **kernel.constants,
        num_warps=kernel.warps,
        num_stages=kernel.stages,
        launch_pdl=kernel.dependent,
    )


def _shared(work: Workload) -> dict[str, Any]:
    return {
        "block_table": work.block_table,
        "W": work.block_table.shape[1],
        "seq_lens": torch.from_numpy(work.step.seq_lens).to(work.qkv.device),
        "kv_scales": work.kv_scales,
    }


def _no_rotation(work: Workload) -> torch.Tensor:
    """rope [S, D] of angle 0 at every position: the other contenders rotate nothing."""
    half = work.shape.head_dim // 2
    longest = int(work.step.seq_lens.max())
    rope = torch.zeros(longest, 2 * half, device=work.qkv.device)
    rope[:, :half] = 1.0
    return rope


def _with_newest(work: Workload) -> torch.Tensor:
    """qkv whose keys and values are what layer 0 holds of each request's newest token."""
    newest = torch.from_numpy(work.step.seq_lens).to(work.qkv.device).long() - 1
    column = (newest // TOKENS_PER_BLOCK)[:, None]
    block = work.block_table.long().gather(1, column)[:, 0]
    kv = work.layers[0][block, :, :, newest % TOKENS_PER_BLOCK].float()  # [R, 2, kv_heads, D]
    if work.kv_scales is not None:
        kv = kv * work.kv_scales[:, None, None]
    return torch.cat((work.q.flatten(1), kv.flatten(1).bfloat16()), 1)
