"""A config.json becomes a spec; what is not supported is refused by name."""

import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from nacelle_engine.errors import InvalidModel, UnsupportedModel
from nacelle_engine.model.checkpoint import checkpoint_tensors
from nacelle_engine.model.family import family_of, read_spec, source_names

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
        ({"attention_bias": True}, UnsupportedModel, "attention_bias True"),
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


@pytest.mark.parametrize("tied", [True, False])
def test_every_checkpoint_tensor_has_a_source(tied):
    config = {**CONFIG, "tie_word_embeddings": tied}
    tensors = {tensor.name: tensor for tensor in checkpoint_tensors(read_spec(config))}
    names = source_names(family_of(config), 2)
    assert set(names) - set(tensors) == ({"lm_head.weight"} if tied else set())
    # TensorRT-LLM's fc is the gate projection, its gate the up projection.
    assert names["transformer.layers.1.mlp.fc.weight"] == ("model.layers.1.mlp.gate_proj.weight",)
    assert tensors["transformer.layers.0.attention.qkv.weight"].shape == (128, 64)
