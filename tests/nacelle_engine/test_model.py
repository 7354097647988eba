"""A config.json becomes a spec; what is not supported is refused by name."""

import pytest
import torch
from transformers import Gemma3TextConfig, LlamaConfig
from transformers.models.gemma3.modeling_gemma3 import Gemma3RotaryEmbedding
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from nacelle_engine.errors import InvalidModel, UnsupportedModel
from nacelle_engine.model.checkpoint import checkpoint_tensors
from nacelle_engine.model.families import FAMILIES, family_of
from nacelle_engine.model.family import read_spec, source_names
from nacelle_engine.model.source import Source

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def test_sizes():
    spec = read_spec(CONFIG)
    assert (spec.head_dim, spec.q_size, spec.kv_size) == (16, 64, 32)
    assert not spec.tied_embeddings and spec.family == "llama"


@pytest.mark.parametrize(
    "rope",
    [{"rope_type": "default", "rope_theta": 10000.0}, LLAMA3,
     {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}],
)  # fmt: skip
def test_frequencies_are_transformers_own(rope):
    config = {**CONFIG, "head_dim": 64, "rope_parameters": rope}
    theirs = LlamaRotaryEmbedding(LlamaConfig(**config)).inv_freq
    torch.testing.assert_close(torch.tensor(read_spec(config).inverse_frequencies), theirs)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, UnsupportedModel, "GPT2LMHeadModel"),
        ({"mlp_bias": True}, UnsupportedModel, "mlp_bias True"),
        ({"hidden_act": "gelu"}, UnsupportedModel, "hidden_act 'gelu'"),
        ({"rope_scaling": {"type": "yarn", "factor": 2}}, UnsupportedModel, "rope type 'yarn'"),
        ({"num_key_value_heads": 3}, InvalidModel, "multiple of num_key_value_heads 3"),
        ({"hidden_size": 0}, InvalidModel, "hidden_size 0"),
        ({"hidden_size": 72, "head_dim": 16}, InvalidModel, "hidden_size 72 must be a multiple"),
    ],
)
def test_what_is_refused(change, error, message):
    with pytest.raises(error, match=message):
        read_spec({**CONFIG, **change})


def test_a_missing_field_is_named():
    config = {name: value for name, value in CONFIG.items() if name != "vocab_size"}
    with pytest.raises(InvalidModel, match="vocab_size is missing"):
        read_spec(config)


def config_of(name, **fields):
    """CONFIG as a config.json of another family."""
    (family,) = (family for family in FAMILIES.values() if family.name == name)
    return {**CONFIG, "head_dim": 16, "architectures": [family.architecture], **fields}


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor 0.5 .* llama; only 1.0"),
        ("llama", {"rope_parameters": {"full_attention": {}}}, "by layer type .* for llama"),
        ("mistral", {"attention_bias": True}, "attention_bias True .* for mistral; only False"),
        ("mistral", {"layer_types": ["full_attention"]}, "layer_types .* for mistral; only None"),
        ("qwen2", {"attention_bias": True}, "attention_bias True .* for qwen2"),
        ("llama", {"final_logit_softcapping": 30.0}, "final_logit_softcapping 30.0 .* for llama"),
        ("qwen3", {"query_pre_attn_scalar": 64}, "query_pre_attn_scalar 64 .* for qwen3"),
        ("qwen3", {"hidden_act": "gelu"}, "hidden_act 'gelu' .* for qwen3; only 'silu'"),
        ("phi3", {"rope_scaling": {"type": "longrope"}}, "rope type 'longrope'"),
        ("phi3", {"rope_scaling": {"type": "su"}}, "rope type 'su'"),
        ("gemma2", {"hidden_activation": "gelu"}, "hidden_activation 'gelu' .* for gemma2"),
        ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention True"),
        ("gemma2", {"layer_types": ["chunked_attention"] * 2}, "layer_types 'chunked_attention'"),
        ("gemma3", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping 50.0 .* for gemma3"),
    ],
)
def test_what_a_family_refuses(name, fields, message):
    with pytest.raises(UnsupportedModel, match=message):
        read_spec(config_of(name, **fields))


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("gemma2", {"sliding_window": None}, "sliding layers, but sliding_window is null"),
        ("gemma2", {"layer_types": ["full_attention"]}, "names 1 layers, num_hidden_layers is 2"),
        ("phi3", {"partial_rotary_factor": 0.7}, "rotates 11 of a head's 16 dimensions"),
        ("phi3", {"partial_rotary_factor": 1.5}, "rotates 24 of a head's 16 dimensions"),
        ("mistral", {"sliding_window": 0}, "sliding_window Input should be greater"),
        ("gemma2", {"final_logit_softcapping": -1.0}, "logits_soft_cap Input should be greater"),
    ],
)
def test_what_cannot_be(name, fields, message):
    with pytest.raises(InvalidModel, match=message):
        read_spec(config_of(name, **fields))


WINDOWED = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}


@pytest.mark.parametrize(
    ("name", "fields", "kinds"),
    [
        ("llama", {"sliding_window": 8}, "ff"),
        ("mistral", {}, "ss"),
        ("mistral", {"sliding_window": None}, "ff"),
        ("phi3", {}, "ff"),
        ("phi3", {"sliding_window": 2047}, "ss"),
        ("qwen2", {"sliding_window": 8, "max_window_layers": 1}, "ff"),
        ("qwen2", WINDOWED, "fs"),
        ("qwen3", {**WINDOWED, "layer_types": ["sliding_attention", "full_attention"]}, "sf"),
        ("gemma2", {}, "sf"),
        ("gemma3", {"num_hidden_layers": 7}, "sssssfs"),
        ("gemma3", {"num_hidden_layers": 3, "sliding_window_pattern": 2}, "sfs"),
    ],
)
def test_layer_types(name, fields, kinds):
    spec = read_spec(config_of(name, **fields))
    assert "".join(kind[0] for kind in spec.layer_types) == kinds
    assert [kind.name[0] for kind in spec.kinds] == sorted(set(kinds))


def test_a_family_s_own_defaults_hold_where_the_config_is_silent():
    spec = read_spec({**config_of("gemma2"), "head_dim": 256})
    assert (spec.attention_soft_cap, spec.logits_soft_cap) == (50.0, 30.0)
    assert spec.tied_embeddings and spec.kinds[1].window == 4096
    assert spec.embedding_scale == 8.0 and spec.attention_scale == 1 / 16
    silent = {name: value for name, value in config_of("qwen3").items() if name != "head_dim"}
    assert read_spec(silent).head_dim == 128


@pytest.mark.parametrize(
    "fields",
    [
        {
            "rope_theta": 500_000.0,
            "rope_local_base_freq": 2_000.0,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        },
        {
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5e5},
                "sliding_attention": {"rope_type": "default", "rope_theta": 2_000.0},
            }
        },
    ],
)
def test_gemma3_has_two_rotary_bases(fields):
    config = {name: value for name, value in CONFIG.items() if name != "rope_theta"}
    config |= {"head_dim": 64, "architectures": ["Gemma3ForCausalLM"], "num_hidden_layers": 6}
    theirs = Gemma3RotaryEmbedding(Gemma3TextConfig(**config, **fields))
    full, sliding = read_spec(config | fields).kinds
    for kind, expected in (
        (full, theirs.full_attention_inv_freq),
        (sliding, theirs.sliding_attention_inv_freq),
    ):
        torch.testing.assert_close(torch.tensor(kind.inverse_frequencies), expected)
    assert (full.rope_theta, sliding.rope_theta) == (5e5, 2e3)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_every_checkpoint_tensor_has_a_source(family, tied):
    config = config_of(family.name, tie_word_embeddings=tied)
    spec = read_spec(config)
    assert list(source_names(family, spec)) == [t.name for t in checkpoint_tensors(spec)]


def test_sources_and_shapes():
    spec = read_spec(CONFIG)
    sources = source_names(family_of(CONFIG), spec)
    # TensorRT-LLM's fc is the gate projection, its gate the up projection.
    assert sources["transformer.layers.1.mlp.fc.weight"] == Source(
        ("model.layers.1.mlp.gate_proj.weight",)
    )
    shapes = {tensor.name: tensor.shape for tensor in checkpoint_tensors(spec)}
    assert shapes["transformer.layers.0.attention.qkv.weight"] == (128, 64)


def test_gemma_s_norms_are_one_more_and_nothing_else():
    config = config_of("gemma3")
    sources = source_names(family_of(config), read_spec(config))
    offset = {name for name, source in sources.items() if source.offset}
    assert offset == {name for name in sources if "norm" in name or "ln_f" in name}
    assert {sources[name].offset for name in offset} == {1.0}
