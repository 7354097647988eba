"""Prefill attention against its formula: ragged steps, tiles, caches, what is never read."""

import pytest
import torch
from interpreted import run
from paged_step import spoil, step

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu import prefill_attention
from nacelle_engine.ops.gpu.attention_shape import AttentionShape
from nacelle_engine.ops.gpu.prefill_attention import Choice, block_q
from nacelle_engine.program.tiles import padded, tiles

SMALL = Choice(16, 32, 4, 2)
STEPS = (
    [(1, 1)],
    [(17, 17), (1, 40), (33, 70)],
    [(1, 13 * n + 1) for n in range(5)],
    [(31, 32), (1, 33), (0, 0), (5, 65), (2, 129)],
)


def shape(heads, kv_heads, dim, **variants):
    return AttentionShape(heads, kv_heads, dim, architecture=Architecture.SM_89, **variants)


def launch(model, choice, inputs, q, padding=0):
    plan = tiles(inputs["q_start"].numpy(), block_q(model, choice))
    plan = padded(plan, len(plan[0]) + padding)
    request, first = (torch.from_numpy(part) for part in plan)
    out = torch.full(q.shape, torch.nan).bfloat16()
    tensors = {**inputs, "q": q, "tile_request": request, "tile_first": first, "out": out}
    kernel = prefill_attention.kernel(model, choice)
    run(kernel, {name: tensors[name] for name in kernel.arguments}, Q=len(request))
    return out


def check(model, choice, lengths, **options):
    inputs = step(model, lengths)
    spoil(inputs["kv"], inputs["block_table"], inputs["seq_lens"])
    q = inputs["qkv"][:, : model.heads * model.head_dim].contiguous()
    names = ("kv", "block_table", "q_start", "seq_lens")
    wanted = prefill_attention.reference(
        q, *(inputs[name] for name in names), model, kv_scales=inputs["kv_scales"]
    )
    found = launch(model, choice, inputs, q, **options)
    assert float((found.float() - wanted).norm() / wanted.norm()) < 4e-3


@pytest.mark.parametrize("lengths", STEPS)
@pytest.mark.parametrize("fp8", [False, True])
@pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(4, 4, 64), (6, 2, 96), (8, 2, 128)])
def test_it_is_the_formula(heads, kv_heads, dim, fp8, lengths):
    check(shape(heads, kv_heads, dim, fp8=fp8), SMALL, lengths)


@pytest.mark.parametrize(
    "choice",
    [
        Choice(64, 64, 4, 2),
        Choice(32, 32, 4, 2, packed=False),
        Choice(16, 128, 4, 2),
        Choice(16, 32, 4, 2, masked=True),
    ],
)
@pytest.mark.parametrize("variant", [{}, {"window": 20}, {"soft_cap": 3.0}, {"scale": 0.4}])
def test_every_variant_with_any_tile(choice, variant):
    check(shape(6, 2, 64, **variant), choice, STEPS[1])


@pytest.mark.parametrize("window", [1, 2, 32, 33, 500])
def test_a_window_counts_the_querys_own_position(window):
    check(shape(4, 2, 64, window=window), SMALL, STEPS[3])


def test_padding_of_the_plan_is_skipped():
    check(shape(4, 2, 64), SMALL, STEPS[1], padding=5)


def test_rows_of_no_request_are_not_written():
    model = shape(4, 2, 64)
    inputs = step(model, [(5, 9)])
    q = torch.randn(8, 256).bfloat16()
    found = launch(model, SMALL, inputs, q)
    assert bool(found[5:].isnan().all())
    assert not found[:5].isnan().any()


def test_a_query_is_the_same_in_any_step():
    model = shape(4, 2, 64)
    inputs = step(model, [(7, 40), (30, 61)])
    q = inputs["qkv"][:, :256].contiguous()
    together = launch(model, SMALL, inputs, q)
    alone = {**inputs, "q_start": torch.tensor([0, 3]).int()}
    alone["block_table"] = inputs["block_table"][1:].contiguous()
    alone["seq_lens"] = inputs["seq_lens"][1:].contiguous()
    assert torch.equal(together[-3:], launch(model, SMALL, alone, q[-3:].contiguous()))
