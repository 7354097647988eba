"""FlashInfer's libraries as contenders, behind the runtime's own plan and run."""

import time
from collections.abc import Iterable
from pathlib import Path

import torch

from nacelle_bench.attention_contender import BF16_ERROR, FP8_ERROR, Contender
from nacelle_bench.attention_workload import Workload
from nacelle_engine.program.attention_library import AttentionLibrary
from nacelle_engine.program.attention_plan import PlanArrays
from nacelle_engine.program.attention_workspace import LargestStep, float_bytes
from nacelle_engine.program.flashinfer import Attention
from nacelle_engine.program.flashinfer_call import Captured, Layer

# Of FP8 queries: normally distributed ones stay below 448 of these.
_Q_SCALE = 0.02
_PLANS = 50


def opened(
    libraries: Iterable[AttentionLibrary], folder: Path, largest: LargestStep, device: torch.device
) -> list[Attention]:
    """Every library with room for the largest step; they share one workspace and one stream."""
    wanted = tuple(libraries)
    size = max((float_bytes(library, largest) for library in wanted), default=0)
    workspace = torch.empty(size, dtype=torch.uint8, device=device)
    return [Attention(library, folder, largest, workspace) for library in wanted]


def layers_of(attention: Attention, work: Workload) -> tuple[list[Layer], torch.Tensor]:
    """Every layer's arguments, all with one output, and the queries that they stand for."""
    q, queries, q_scale = work.q, work.q, None
    if attention.library.query_dtype != "bfloat16":
        q_scale = torch.tensor([_Q_SCALE], device=q.device)
        q = (q.float() / q_scale).to(torch.float8_e4m3fn)
        queries = q.float() * q_scale
    out = torch.full(q.shape, torch.nan, dtype=torch.bfloat16, device=q.device)
    layers = [
        Layer(
            q=q,
            kv=kv,
            block_table=work.block_table,
            out=out,
            scale=work.shape.softmax_scale,
            kv_scales=work.kv_scales,
            q_scale=q_scale,
        )
        for kv in work.layers
    ]
    return layers, queries


def contender(attention: Attention, work: Workload, captured: Captured | None) -> Contender:
    """The library planned for this step; no other step may be planned before it has run."""
    layers, queries = layers_of(attention, work)
    plan = attention.plan(work.step, captured)

    def attend(layer: int) -> torch.Tensor:
        attention.run(plan, layers[layer])
        return layers[layer].out

    return Contender(
        f"FlashInfer {attention.library.algorithm}", attend, queries, tolerance(attention)
    )


def tolerance(attention: Attention) -> float:
    """The error that the library's types allow."""
    return BF16_ERROR if attention.library.query_dtype == "bfloat16" else FP8_ERROR


def plan_microseconds(attention: Attention, step: PlanArrays) -> float:
    """Mean time of the host for one plan, the device idle."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(_PLANS):
        attention.plan(step)
    taken = time.perf_counter() - began
    torch.cuda.synchronize()
    return 1e6 * taken / _PLANS
