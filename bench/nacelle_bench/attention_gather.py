"""Compiled decode attention that copies a request's pages together, then calls torch's SDPA."""

import torch
import torch.nn.functional as F

from nacelle_bench.attention_contender import Contender
from nacelle_bench.attention_workload import Workload


def gather_contender(work: Workload) -> Contender:
    """One query a request; every request's context fills its pages."""
    table, q = work.block_table.long(), work.q.unsqueeze(2).contiguous()
    scale = work.shape.softmax_scale

    def call(q: torch.Tensor, kv: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        pages = kv[table]  # [R, W, 2, kv_heads, 32, D]
        k, v = pages.permute(2, 0, 3, 1, 4, 5).flatten(3, 4)
        return F.scaled_dot_product_attention(q, k, v, scale=scale, enable_gqa=True)

    # A size a contender: dynamo counts what was compiled before against a limit.
    torch._dynamo.reset()
    compiled = torch.compile(call, dynamic=True)

    def attend(layer: int) -> torch.Tensor:
        return compiled(q, work.layers[layer], table).squeeze(2)

    return Contender("gather + SDPA", attend, work.q)
