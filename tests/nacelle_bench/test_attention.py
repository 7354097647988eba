"""The attention benchmark's parts that need no GPU: workloads, contenders, verdict, rows."""

import numpy as np
import pytest
import torch
from interpreted import run

from nacelle_bench import attention_flex, attention_triton
from nacelle_bench.attention_contender import Contender, check
from nacelle_bench.attention_flex import FlexPages, flex_contender
from nacelle_bench.attention_gather import gather_contender
from nacelle_bench.attention_row import Measured, rows
from nacelle_bench.attention_workload import Case, block_table, random_cache, workload
from nacelle_engine.arch import Architecture
from nacelle_engine.errors import FidelityFailed
from nacelle_engine.ops.gpu.attention_shape import AttentionShape

DECODE, PREFILL = Case(3, 64), Case(2, 128, prefill=True)


def shape(fp8=False):
    # The interpreter knows no dependent launch, which sm_89 has not.
    return AttentionShape(4, 2, 64, fp8=fp8, architecture=Architecture.SM_89)


def work_of(case, fp8=False, layers=2, spare=0):
    torch.manual_seed(0)
    cache = random_cache(shape(fp8), layers * case.blocks + 1, torch.device("cpu"))
    return workload(shape(fp8), *case.lengths, cache, spare), cache


def interpreted(kernel, tensors, sizes):
    run(kernel, {name: tensors[name] for name in kernel.arguments}, **sizes)


def dense_flex(q, k, v, *, block_mask, scale, enable_gqa, kernel_options):
    """FlexAttention's formula: whole blocks of the mask, and part of those it names so."""
    b, queries, tokens = q.shape[0], q.shape[2], k.shape[2]
    rows, page = block_mask.BLOCK_SIZE
    seen = torch.zeros(b, queries, tokens, dtype=torch.bool)
    at_q, at_kv = torch.arange(queries)[:, None], torch.arange(tokens)[None]
    for r in range(b):
        inside = block_mask.mask_mod(torch.tensor(r), None, at_q, at_kv).expand(queries, tokens)
        for kind in ("", "full_"):
            counts, pages = (
                getattr(block_mask, f"{kind}kv_{x}") for x in ("num_blocks", "indices")
            )
            for tile in range(counts.shape[-1]):
                for n in pages[r, 0, tile, : int(counts[r, 0, tile])].tolist():
                    part = np.s_[tile * rows : (tile + 1) * rows, n * page : (n + 1) * page]
                    seen[r][part] = inside[part] if kind == "" else True
    k, v = (x.expand(b, -1, -1, -1) for x in (k, v))
    return torch.nn.functional.scaled_dot_product_attention(
        q, k, v, seen[:, None], scale=scale, enable_gqa=enable_gqa
    )


def test_a_block_belongs_to_one_request_and_block_0_to_nobody():
    table = block_table(np.array([33, 1, 64], np.int32), 4, seed=3)
    assert sorted(table.flatten().tolist()) == [0] * 7 + [1, 2, 3, 4, 5]
    assert (table[0] > 0).tolist() == [True, True, False, False]


def test_a_cache_is_cut_into_whole_layers():
    work, cache = work_of(DECODE)
    assert DECODE.blocks == 7
    assert [len(layer) for layer in work.layers] == [7, 7]
    assert work.layers[1].data_ptr() == cache.kv[7].data_ptr()


def test_figures_of_a_case():
    assert DECODE.kv_bytes(shape()) == 2 * DECODE.kv_bytes(shape(fp8=True)) == 3 * 64 * 2 * 2 * 128
    assert DECODE.operations(shape()) == 3 * 64 * 4 * 4 * 64
    assert PREFILL.operations(shape()) == 2 * (128 * 129 // 2) * 4 * 4 * 64
    assert (DECODE.tokens, PREFILL.tokens) == (3, 256)
    assert (str(DECODE), str(PREFILL)) == ("decode 3 x 64", "prefill 2 x 128")


@pytest.mark.parametrize("fp8", [False, True])
def test_our_decode_is_the_same_attention(monkeypatch, fp8):
    monkeypatch.setattr(attention_triton, "launch", interpreted)
    work, _ = work_of(DECODE, fp8, spare=2)
    (ours,) = attention_triton.decode_contenders(work, every=False)
    check(ours, work, "decode", 3)
    ours.attend(1)


@pytest.mark.parametrize("fp8", [False, True])
def test_our_prefill_is_the_same_attention(monkeypatch, fp8):
    monkeypatch.setattr(attention_triton, "launch", interpreted)
    work, _ = work_of(PREFILL, fp8)
    (ours,) = attention_triton.prefill_contenders(work, every=False)
    check(ours, work, "prefill", 2)


def test_every_choice_is_a_contender_of_its_own():
    work, _ = work_of(PREFILL)
    assert len(list(attention_triton.prefill_contenders(work, every=True))) > 1


def test_gather_is_the_same_attention(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda call, **_: call)
    work, _ = work_of(DECODE)
    check(gather_contender(work), work, "decode", 3)


@pytest.mark.parametrize("case", [DECODE, Case(3, 50), PREFILL, Case(2, 256, prefill=True)])
def test_flex_attention_is_the_same_attention(monkeypatch, case):
    monkeypatch.setattr(torch, "compile", lambda call, **_: call)
    monkeypatch.setattr(attention_flex, "flex_attention", dense_flex)
    work, cache = work_of(case)
    flex = flex_contender(work, FlexPages(cache), case.context, prefill=case.prefill)
    check(flex, work, "flex", 3)
    flex.attend(1)


@pytest.mark.parametrize("wrong", [torch.nan, 0.0])
def test_a_wrong_contender_ends_the_run(wrong):
    work, _ = work_of(DECODE)
    bad = Contender("bad", lambda _layer: torch.full_like(work.q, wrong), work.q)
    with pytest.raises(FidelityFailed, match="bad, decode: differs from the fp32 reference by"):
        check(bad, work, "decode", 3)


def test_rows_compare_with_the_quickest_library_of_the_same_case():
    found = rows(
        [
            Measured(shape(), DECODE, "FlashInfer decode", 40.0),
            Measured(shape(), DECODE, "FlashInfer fa2", 30.0),
            Measured(shape(), DECODE, "Triton", 60.0),
            Measured(shape(), DECODE, "Triton", 50.0),
            Measured(shape(), PREFILL, "Triton", 10.0),
        ]
    )
    assert [(row["kernel"], row["step"], row["us"]) for row in found] == [
        ("FlashInfer decode", "decode", 40.0), ("FlashInfer fa2", "decode", 30.0),
        ("Triton", "decode", 50.0), ("Triton", "prefill", 10.0),
    ]  # fmt: skip
    assert [row["FlashInfer lower %"] for row in found] == [None, None, pytest.approx(40.0), None]
    assert found[2]["GB/s"] == pytest.approx(DECODE.kv_bytes(shape()) / 50e-6 / 1e9)
    assert found[3]["GB/s"] is None
