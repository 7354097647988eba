"""One implementation of attention, ready to run a workload: checked first, timed then."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from nacelle_bench.attention_workload import Workload
from nacelle_bench.gpu_time import captured, microseconds
from nacelle_engine.errors import FidelityFailed

# Of the reference's norm: bf16 products and results; queries and weights in FP8.
BF16_ERROR, FP8_ERROR = 0.006, 0.06


@dataclass(frozen=True)
class Contender:
    """attend(layer): launch one layer's attention and give its output, which the next call may
    overwrite; rows: that output as [T, heads, D]; queries: what it takes for q, exactly.
    """

    name: str
    attend: Callable[[int], torch.Tensor]
    queries: torch.Tensor
    tolerance: float = BF16_ERROR
    rows: Callable[[torch.Tensor], torch.Tensor] = torch.Tensor.contiguous


def check(contender: Contender, work: Workload, what: str, requests: int) -> None:
    """FidelityFailed when layer 0 differs from the fp32 reference in the first requests."""
    error = work.error(contender.rows(contender.attend(0)), contender.queries, requests)
    # Not "error > tolerance": NaN is wrong too.
    if not error < contender.tolerance:
        raise FidelityFailed(
            f"{contender.name}, {what}: differs from the fp32 reference by {error:.4f} of its "
            f"norm, {contender.tolerance} at most; its times would mean nothing"
        )


def layer_microseconds(contender: Contender, work: Workload, *, graph: bool) -> float:
    """Time of one layer, the layers taking turns; graph: launched as one CUDA graph."""

    def run() -> None:
        for layer in range(len(work.layers)):
            contender.attend(layer)

    return microseconds(captured(run) if graph else run) / len(work.layers)
