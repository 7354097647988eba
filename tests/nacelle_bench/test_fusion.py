"""A layer fused and eager, over an interpreted GPU: equal results, and counted bytes."""

import argparse

import pytest
import torch
from interpreted_gpu import interpret, launch_list
from tiny_llama import CONFIG, random_model, write_weights

from nacelle_bench import fusion, fusion_ours
from nacelle_bench.command import configure
from nacelle_bench.fusion import check_signature
from nacelle_bench.fusion_case import Case
from nacelle_bench.fusion_command import check_case
from nacelle_bench.fusion_eager import EagerLayer, check_layer, eager_step
from nacelle_bench.fusion_ours import FusedStep, Layers
from nacelle_builder.compile.gpu.lower import lower
from nacelle_builder.compile.gpu.places import places
from nacelle_builder.compile.gpu.signature import signature_of
from nacelle_builder.compile.gpu.tactics import decide
from nacelle_cli.main import main
from nacelle_engine.errors import FidelityFailed, InvalidRequest
from nacelle_engine.limits import Limits
from nacelle_engine.model.family import read_spec
from nacelle_engine.ops import attention
from nacelle_engine.precision import Quantization
from nacelle_engine.program.launch import LAUNCHES
from nacelle_engine.program.signature import WeightSpec
from nacelle_engine.recipe import Recipe

SPEC = read_spec(CONFIG)
PLAIN = {"algorithm": "NONE"}
FP8 = {"algorithm": "FP8_PER_CHANNEL_PER_TOKEN", "kv_cache": "FP8"}
LIMITS = Limits(max_batch_size=3, max_input_len=60, max_seq_len=64, max_num_tokens=48)


def recipe(**quantization):
    # Interpreted kernels know no dependent launch: an architecture without.
    return Recipe(architecture="sm_89", limits=LIMITS, quantization=Quantization(**quantization))


def opened(monkeypatch, rank, one):
    write_weights(random_model(CONFIG), one.quantization, rank, CONFIG)
    chosen, _ = decide(places(SPEC, one), {}, "no GPU")
    lowered = lower(SPEC, one, chosen)
    (rank / LAUNCHES).write_text(launch_list(lowered).model_dump_json(by_alias=True))
    interpret(monkeypatch, fusion_ours, lowered.kernels)
    return Layers(rank, signature_of(SPEC, one))


def both(layers, case):
    """Layer 0's share of the stream: fused, and eager over what the weights stand for."""
    signature = layers.signature
    layers.fill_kv(case.blocks(signature.tokens_per_block))
    step = case.step(signature.tokens_per_block, signature.vocab_size, 1)
    fused = FusedStep(layers, case, step)
    fused.send()
    before, after = fused.first()
    geometry = fusion.geometry_of(layers, 0, SPEC.norm_eps)
    eager = EagerLayer(layers.layers[0][1].weights, layers.kv[0], geometry, "bfloat16")
    inputs = eager_step(step, layers.rope[0], signature.tokens_per_block)
    return fused, after - before, eager.run(before, inputs) - before


@pytest.mark.parametrize("case", [Case(1, 1, 40), Case(3, 1, 33), Case(1, 5, 5), Case(1, 37, 37)])
@pytest.mark.parametrize(
    "quantization",
    [PLAIN, FP8],
    ids=["bf16", "fp8"],
)
def test_the_fused_layer_is_the_eager_one(monkeypatch, tmp_path, case, quantization):
    fused, found, wanted = both(opened(monkeypatch, tmp_path, recipe(**quantization)), case)
    most = fusion.TOLERANCES[fused.range.numerics]
    assert fusion._error(found, wanted, "ours", most) < most
    with pytest.raises(FidelityFailed, match="ours: layer 0 differs from eager bfloat16 by"):
        fusion._error(found.roll(1, -1), wanted, "ours", most)


def test_a_layers_launches_move_its_weights_and_cache(monkeypatch, tmp_path):
    layers = opened(monkeypatch, tmp_path, recipe(**PLAIN))
    fused, *_ = both(layers, Case(3, 1, 33))
    spec, held = SPEC, layers.layers[0][1].weights
    weights = sum(tensor.nbytes for name, tensor in held.items() if name != "next_norm")
    cache = 3 * 33 * 2 * spec.num_kv_heads * spec.head_dim * 2
    # Read or written in bfloat16, three tokens: x by the norms, twice by what adds to it; the
    # results between launches once by either side.
    h, q, i = spec.hidden_size, spec.q_size, spec.intermediate_size
    stream = 3 * 2 * (2 * h + 2 * 2 * h + 2 * (q + 2 * spec.kv_size) + 2 * q + 2 * i)
    rope = 3 * 4 * spec.head_dim
    tables = fused.arrays["block_table.0"].nbytes + fused.arrays["seq_lens"].nbytes
    assert fused.bytes_of_layer() == weights + cache + stream + rope + tables


def test_the_eager_attention_is_the_formula(monkeypatch, tmp_path):
    layers, case = opened(monkeypatch, tmp_path, recipe(**PLAIN)), Case(2, 35, 35)
    size = layers.signature.tokens_per_block
    layers.fill_kv(case.blocks(size))
    cache = layers.kv[0].clone()
    geometry = fusion.geometry_of(layers, 0, SPEC.norm_eps)
    eager = EagerLayer(layers.layers[0][1].weights, layers.kv[0], geometry, "bfloat16")
    step = case.step(size, layers.signature.vocab_size, 1)
    qkv = torch.randn(70, SPEC.q_size + 2 * SPEC.kv_size).bfloat16()
    found = eager._attention(qkv, eager_step(step, layers.rope[0], size))
    wanted = attention.reference(
        qkv, layers.rope[0][step.positions], cache, step.slots, step.q_start,
        step.block_tables[0], step.seq_lens, None, None,
        SPEC.num_heads, 0, SPEC.head_dim**-0.5, 0.0, SPEC.norm_eps,
    )  # fmt: skip
    assert (found.float() - wanted).norm() < 0.01 * wanted.norm()


@pytest.mark.parametrize(
    ("quantization", "names"),
    [(PLAIN, ["ours", "eager bf16"]), (FP8, ["ours", "eager FP8", "eager bf16"])],
    ids=["bf16", "fp8"],
)
def test_a_row_for_each_way(monkeypatch, tmp_path, quantization, names):
    layers = opened(monkeypatch, tmp_path, recipe(**quantization))
    monkeypatch.setattr(fusion, "captured", lambda run: run)
    monkeypatch.setattr(fusion, "microseconds", lambda run: 20.0)
    monkeypatch.setattr(fusion, "kernels", lambda run: 10)
    fused_product = torch._scaled_mm
    monkeypatch.setattr(
        torch,
        "_scaled_mm",
        lambda x, columns, **given: (
            fused_product(x, columns, **given)
            if "out" in given
            else (x.float() @ columns.float() * given["scale_a"] * given["scale_b"]).bfloat16()
        ),
    )
    rows = fusion.case_rows(layers, Case(2, 1, 33), SPEC.norm_eps)
    assert [row["layer"] for row in rows] == names
    each = 20.0 / SPEC.num_layers
    for row in rows:
        assert (row["step"], row["tokens"], row["context"]) == ("decode", 2, 33)
        assert (row["launches"], row["us"], row["graph_us"]) == (5.0, each, each)
        assert row["gb_s"] == pytest.approx(row["mb"] * 1e3 / each, abs=0.1)
        assert row["error"] <= 0.2
    # What is not fused goes through memory between the ops.
    assert rows[-1]["mb"] > rows[0]["mb"]


def test_the_flags():
    parser = argparse.ArgumentParser()
    configure(parser)
    found = parser.parse_args(["fusion", "b", "--batch", "4", "--context", "99", "--prefill"])
    assert (found.batch, found.context, found.prefill, found.norm_eps) == ([4], 99, [], 1e-5)
    found = parser.parse_args(["fusion", "b", "--json"])
    assert (found.batch, found.context, found.prefill) == ([1, 8, 32, 128], 256, [2048])


def test_a_folder_that_is_no_bundle_is_named(capsys, tmp_path):
    main(["bench", "fusion", str(tmp_path)])
    assert "nacelle bench: CorruptBundle" in capsys.readouterr().err


def test_what_the_eager_layer_has_not_is_refused():
    (kind,) = signature_of(SPEC, recipe(**PLAIN)).kinds
    check_layer(kind)
    bias = WeightSpec(name="qkv_bias", dtype="bfloat16", shape=(4,), sources=("a",))
    with pytest.raises(InvalidRequest, match=r"layer\.full: the eager layer has no qkv_bias"):
        check_layer(kind.model_copy(update={"weights": (*kind.weights, bias)}))


def test_a_window_below_the_context_is_refused():
    signature = signature_of(SPEC, recipe(**PLAIN))
    check_signature(signature, 64)
    (group,) = signature.kv_groups
    narrow = signature.model_copy(update={"kv_groups": (group.model_copy(update={"window": 32}),)})
    with pytest.raises(InvalidRequest, match="64 tokens are beyond the layers' window of 32"):
        check_signature(narrow, 64)


def test_layers_of_several_groups_are_refused():
    signature = signature_of(SPEC, recipe(**PLAIN))
    (group,) = signature.kv_groups
    other = group.model_copy(update={"name": "sliding"})
    several = signature.model_copy(update={"kv_groups": (group, other)})
    with pytest.raises(InvalidRequest, match="KV groups full and sliding; fusion is measured of"):
        check_signature(several, 64)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (Case(0, 1, 8), "--batch, --context, --prefill: at least 1"),
        (Case(4, 1, 8), "--batch 4: the engine takes 3 requests at most"),
        (Case(1, 1, 65), "--context, --prefill: 65 tokens are more than the engine's sequences"),
        (Case(1, 49, 49), "--prefill 49: the engine takes 48 tokens a step"),
    ],
)
def test_a_case_beyond_the_limits_is_refused(case, words):
    with pytest.raises(InvalidRequest, match=words):
        check_case(case, LIMITS)
