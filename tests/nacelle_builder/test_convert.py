"""Conversion: every tensor in its place, and bad checkpoints refused by name."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from nacelle_builder.convert.convert import convert, read_model
from nacelle_builder.convert.quantize import dequantize, quantize_per_channel
from nacelle_builder.source.files import find_checkpoint
from nacelle_engine.errors import (
    InvalidModel,
    TensorInvalid,
    TensorMissing,
    TensorUnexpected,
    UnsupportedModel,
)
from nacelle_engine.precision import ComputeType, Quantization, QuantizationAlgorithm

NONE = Quantization(algorithm=QuantizationAlgorithm.NONE, compute_type=ComputeType.FLOAT32)


def converted(folder, out, quantization=NONE):
    convert(read_model(find_checkpoint(folder)), quantization, out, lambda percent, message: None)
    return load_file(out / "rank0.safetensors")


def test_every_tensor_lands_under_its_name(model, tmp_path):
    source = {k: v.float() for k, v in load_file(model / "model.safetensors").items()}
    made = converted(model, tmp_path / "out")
    theirs, ours = "model.layers.1.", "transformer.layers.1."
    qkv = torch.cat([source[f"{theirs}self_attn.{x}_proj.weight"] for x in "qkv"])
    expected = {
        f"{ours}attention.qkv.weight": qkv,
        f"{ours}attention.dense.weight": source[f"{theirs}self_attn.o_proj.weight"],
        f"{ours}mlp.fc.weight": source[f"{theirs}mlp.gate_proj.weight"],
        f"{ours}mlp.gate.weight": source[f"{theirs}mlp.up_proj.weight"],
        f"{ours}mlp.proj.weight": source[f"{theirs}mlp.down_proj.weight"],
        "transformer.vocab_embedding.weight": source["model.embed_tokens.weight"],
        "transformer.ln_f.weight": source["model.norm.weight"],
        "lm_head.weight": source["lm_head.weight"],
    }
    for name, tensor in expected.items():
        assert torch.equal(made[name], tensor), name
    assert len(made) == 3 + 2 * 7


def test_the_config_uses_the_formats_names(model, tmp_path):
    converted(model, tmp_path / "out", Quantization())
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architecture"] == "LlamaForCausalLM"
    assert config["quantization"]["quant_algo"] == "FP8_PER_CHANNEL_PER_TOKEN"
    assert config["quantization"]["kv_cache_quant_algo"] is None
    assert config["position_embedding_type"] == "rope_gpt_neox"
    assert config["mapping"] == {"world_size": 1, "tp_size": 1, "pp_size": 1}
    assert (config["head_size"], config["num_key_value_heads"]) == (16, 2)


def test_fp8_is_only_for_linears(model, tmp_path):
    made = converted(model, tmp_path / "out", Quantization())
    fp8 = {name for name, tensor in made.items() if tensor.dtype == torch.float8_e4m3fn}
    assert len(fp8) == 2 * 5
    for name in fp8:
        scale = made[name.removesuffix(".weight") + ".per_channel_scale"]
        assert (scale.dtype, scale.shape) == (torch.float32, made[name].shape[:1])
    assert made["lm_head.weight"].dtype == torch.bfloat16


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 9),
    st.integers(1, 70),
    st.sampled_from([1e-30, 1e-3, 1.0, 1e4, 1e30]),
    st.integers(0, 9999),
)
def test_quantising_errs_by_at_most_half_a_step(rows, columns, size, seed):
    weight = size * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    weight[0] = 0
    linear = quantize_per_channel(weight)
    error = (dequantize(linear.weight, linear.scale) - weight).abs()
    step = torch.maximum(weight.abs() * 2**-4, linear.scale[:, None] * 2**-10)
    assert bool((error <= step * 1.001).all())
    assert bool((linear.scale > 0).all())
    assert not bool(linear.weight.float().isnan().any())


def test_a_tied_head_is_left_out(model, tmp_path, edit_config, edit_tensors):
    edit_config(model, tie_word_embeddings=True)
    embedding = "model.embed_tokens.weight"
    edit_tensors(model, lambda t: t.update({"lm_head.weight": t[embedding].clone()}))
    assert "lm_head.weight" not in converted(model, tmp_path / "out")
    edit_tensors(model, lambda t: t["lm_head.weight"].mul_(2))
    with pytest.raises(TensorUnexpected, match=r"lm_head\.weight differs"):
        converted(model, tmp_path / "out")


Q0 = "model.layers.0.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda t: t.pop(Q0), TensorMissing, f"tensor {Q0} .64, 64. is in no"),
        (lambda t: t.update(extra=torch.ones(2)), TensorUnexpected, "tensor extra and 0 more"),
        (
            lambda t: t.update({Q0: torch.ones(3, 64)}),
            TensorInvalid,
            rf"{Q0} has shape \[3, 64\], the config asks for \[64, 64\] \(num_attention_heads, ",
        ),
        (lambda t: t.update({Q0: torch.ones(64, 64).int()}), TensorInvalid, f"{Q0} is I32"),
        (lambda t: t[Q0][1, 2].fill_(float("nan")), TensorInvalid, f"{Q0} holds NaN"),
        (lambda t: t[Q0][1, 2].fill_(float("inf")), TensorInvalid, f"{Q0} holds Inf"),
    ],
)
def test_a_bad_tensor_is_named(model, tmp_path, edit_tensors, change, error, message):
    edit_tensors(model, change)
    with pytest.raises(error, match=message):
        converted(model, tmp_path / "out")


@pytest.mark.parametrize("kept", [3, 100, 0.5, -1])
def test_a_truncated_file_is_named(model, tmp_path, kept):
    file = model / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * kept) if isinstance(kept, float) else kept])
    with pytest.raises(TensorInvalid, match=r"model\.safetensors is truncated"):
        converted(model, tmp_path / "out")


def test_overlapping_tensors_are_refused(model, tmp_path):
    file = model / "model.safetensors"
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    q, k = (header[f"model.layers.0.self_attn.{x}_proj.weight"] for x in "qk")
    k["data_offsets"] = [q["data_offsets"][0], q["data_offsets"][0] + 2 * 32 * 64]
    text = json.dumps(header, separators=(",", ":")).encode().ljust(length)
    file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    with pytest.raises(TensorInvalid, match=r"model\.safetensors has a damaged header"):
        converted(model, tmp_path / "out")


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, UnsupportedModel, "GPT2LMHeadModel"),
        ({"quantization_config": {"quant_method": "awq"}}, UnsupportedModel, "'awq'"),
        ({"mlp_bias": True}, UnsupportedModel, "mlp_bias"),
        ({"attention_bias": True}, TensorMissing, r"q_proj\.bias"),
        ({"hidden_size": "many"}, InvalidModel, "hidden_size"),
        ({"num_hidden_layers": 3}, TensorMissing, r"model\.layers\.2\."),
        ({"num_hidden_layers": 1}, TensorUnexpected, r"model\.layers\.1\."),
    ],
)
def test_a_bad_config_is_named(model, tmp_path, edit_config, fields, error, message):
    edit_config(model, **fields)
    with pytest.raises(error, match=message):
        converted(model, tmp_path / "out")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: (m / "config.json").unlink(), r"has no config\.json"),
        (lambda m: (m / "tokenizer.json").unlink(), r"has no tokenizer\.json"),
        (lambda m: (m / "model.safetensors").unlink(), r"has no \.safetensors file"),
        (
            lambda m: (m / "model.safetensors.index.json").write_text(
                '{"weight_map": {"a": "gone.safetensors"}}'
            ),
            r"names gone\.safetensors, which is not",
        ),
    ],
)
def test_a_folder_that_is_no_checkpoint_is_refused(model, spoil, message):
    spoil(model)
    with pytest.raises(InvalidModel, match=message):
        find_checkpoint(model)


def test_broken_json_is_named(model):
    (model / "config.json").write_text('{"a": ')
    with pytest.raises(InvalidModel, match=r"config\.json is not JSON: line 1"):
        read_model(find_checkpoint(model))


LLAMA3 = {"rope_type": "llama3", "factor": 8, "original_max_position_embeddings": 8192}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"architectures": {"a": 1}}, "architectures {'a': 1} is no list"),
        ({"rope_parameters": 7}, "rope_parameters 7 is no JSON object"),
        ({"rope_parameters": {"full_attention": [1]}}, r"full_attention \[1\] is no JSON object"),
        ({"rope_parameters": {"rope_theta": 0}}, "rope_theta 0 must be above 0"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 0}}, "factor 0 must be above 0"),
        (
            {"rope_parameters": {**LLAMA3, "low_freq_factor": 4, "high_freq_factor": 4}},
            "low_freq_factor 4 must be below high_freq_factor 4",
        ),
        (
            {"architectures": ["Gemma2ForCausalLM"], "sliding_window_pattern": 0},
            "sliding_window_pattern 0 must be above 0",
        ),
    ],
)
def test_values_that_no_model_has_are_refused_by_name(model, edit_config, fields, message):
    edit_config(model, hidden_act=None, **fields)
    with pytest.raises(InvalidModel, match=message):
        read_model(find_checkpoint(model))


@pytest.mark.parametrize("text", ['{"vocab_size": 1%s}' % ("0" * 5000), "[" * 100_000])
def test_json_beyond_python_s_limits_is_refused(model, text):
    (model / "config.json").write_text(text)
    with pytest.raises(InvalidModel, match=r"config\.json cannot be read"):
        find_checkpoint(model)


@pytest.mark.parametrize("shards", [None, [], {"a": None}, {"a": ["model.safetensors"]}])
def test_an_index_that_names_no_files_is_refused(model, shards):
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(InvalidModel, match=r"index\.json: weight_map is no object of tensors"):
        find_checkpoint(model)
