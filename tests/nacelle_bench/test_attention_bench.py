"""The attention benchmark from its cases to its table, over doubles of a GPU and of FlashInfer."""

import pytest
import torch
from attention_double import AttentionDouble
from interpreted import run

from nacelle_bench import attention, attention_checks, attention_triton
from nacelle_bench.attention import Settings, bench_attention
from nacelle_bench.attention_checks import Checks
from nacelle_bench.attention_workload import Case
from nacelle_builder.compile.gpu.flashinfer_library import attention_libraries
from nacelle_engine.arch import Architecture
from nacelle_engine.errors import FidelityFailed
from nacelle_engine.ops.gpu.attention_shape import AttentionShape

CPU = torch.device("cpu")
CASES = (Case(1, 128), Case(3, 128), Case(2, 128, prefill=True))


def interpreted(kernel, tensors, sizes):
    run(kernel, {name: tensors[name] for name in kernel.arguments}, **sizes)


def shape(architecture=Architecture.SM_90, fp8=False):
    return AttentionShape(4, 2, 64, fp8=fp8, architecture=architecture)


@pytest.fixture(autouse=True)
def no_gpu_needed(monkeypatch):
    monkeypatch.setattr(torch.cuda, "_sleep", lambda _cycles: None)
    monkeypatch.setattr(attention_checks, "captured", lambda call: call)
    # The formula in fp32 is slow here: shorter sequences in the replayed steps.
    monkeypatch.setattr(attention_checks, "_WIDTH", 5)
    monkeypatch.setattr(attention_checks, "_REPLAYED", (160, 60, 2))
    monkeypatch.setattr(attention_checks, "_AHEAD", 3)


@pytest.mark.parametrize("fp8", [False, True])
@pytest.mark.parametrize("algorithm", ["decode", "fa2", "fa3"])
def test_a_right_library_passes_every_step(algorithm, fp8):
    library = next(x for x in attention_libraries(shape(fp8=fp8)) if x.algorithm == algorithm)
    double = AttentionDouble(library, shape(fp8=fp8))
    assert Checks(double, shape(fp8=fp8), CPU).run() == (7 if algorithm == "decode" else 9)


def test_a_graph_that_keeps_its_old_plan_is_found():
    double = AttentionDouble(attention_libraries(shape())[1], shape(), forgetful=True)
    with pytest.raises(FidelityFailed, match=r"fa2.*, a graph replayed below 160: differs"):
        Checks(double, shape(), CPU).run()


@pytest.fixture
def doubles(monkeypatch):
    monkeypatch.setattr(attention_triton, "launch", interpreted)
    monkeypatch.setattr(torch, "compile", lambda call, **_: call)
    monkeypatch.setattr(attention, "current_device", lambda: CPU)
    monkeypatch.setattr(attention, "_surroundings", lambda _settings: {"gpu": "none"})
    monkeypatch.setattr(attention, "_largest", lambda _settings, _device: None)
    monkeypatch.setattr(attention, "_CACHE_BYTES", 1 << 18)
    monkeypatch.setattr(attention, "made_libraries", lambda one, _folder: (one,))
    monkeypatch.setattr(
        attention,
        "opened",
        lambda made, *_: [AttentionDouble(x, made[0]) for x in attention_libraries(made[0])],
    )
    monkeypatch.setattr(attention, "plan_microseconds", lambda _attention, _step: 50.0)
    monkeypatch.setattr(attention, "flex_contender", lambda work, *_, **__: flex(work))
    monkeypatch.setattr(attention, "layer_microseconds", lambda one, _work, **_: len(one.name))


def flex(work):
    """The other decode contender: this test is not about FlexAttention."""
    (ours,) = attention_triton.prefill_contenders(work, every=False)
    return ours


@pytest.mark.slow
def test_a_row_for_every_case_and_contender(doubles, tmp_path):
    settings = Settings(heads=4, kv_heads=2, head_dim=64, cases=CASES, every_choice=False)
    table = bench_attention(settings, Architecture.SM_89, tmp_path)
    kernels = [(row["kv"], row["step"], row["requests"], row["kernel"]) for row in table.rows]
    decode = ["FlashInfer decode", "FlashInfer fa2", "Triton"]
    assert kernels == [
        *(("bf16", "decode", 1, kernel) for kernel in (*decode, "gather + SDPA")),
        *(("bf16", "decode", 3, kernel) for kernel in (*decode, "gather + SDPA")),
        *(("bf16", "prefill", 2, kernel) for kernel in decode[1:]),
        *(("fp8", "decode", 1, kernel) for kernel in decode),
        *(("fp8", "decode", 3, kernel) for kernel in decode),
        *(("fp8", "prefill", 2, kernel) for kernel in decode[1:]),
    ]
    assert table.facts["attention-fa2-d64-g2-fp8, steps right"] == 9
    assert table.facts["attention-fa2-d64-g2-fp8, us of the host a plan"] == 50.0
