"""Limits whose cache cannot fit the GPU are refused with the largest that does."""

import re

import pytest

from nacelle_builder.memory_check import check_memory
from nacelle_engine.errors import InvalidRequest
from nacelle_engine.limits import Limits
from nacelle_engine.machine import Gpu
from nacelle_engine.model.family import read_spec
from nacelle_engine.precision import Quantization
from nacelle_engine.recipe import Recipe

# 8.03 billion parameters, 32 layers of 8 KV heads of 128: 131,072 bytes of bfloat16 a token.
LLAMA_8B = read_spec(
    {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
        "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128256,
        "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "hidden_act": "silu",
        "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
        "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": False,
    }
)  # fmt: skip


def check(gigabytes, tokens, algorithm="NONE", kv_cache="NONE"):
    recipe = Recipe(
        architecture="sm_90",
        quantization=Quantization(algorithm=algorithm, kv_cache=kv_cache),
        limits=Limits(
            max_batch_size=4, max_input_len=tokens - 1, max_seq_len=tokens, max_num_tokens=8192
        ),
    )
    check_memory(LLAMA_8B, recipe, Gpu((9, 0), "NVIDIA-L4", 58, int(gigabytes * 1e9)))


@pytest.mark.parametrize(
    ("gigabytes", "tokens", "formats"),
    [
        (24, 32768, ()),
        (24, 131072, ("FP8_PER_CHANNEL_PER_TOKEN", "FP8")),
        (80, 131072, ()),
    ],
)
def test_what_fits_is_taken(gigabytes, tokens, formats):
    check(gigabytes, tokens, *formats)


def test_the_largest_that_fits_is_named_and_fits():
    with pytest.raises(InvalidRequest, match=r"NVIDIA-L4 has 24\.0 GB") as refused:
        check(24, 131072)
    text = str(refused.value)
    assert "limits.maxSeqLen 131072" in text
    assert "takes 17.2 GB, the weights take 16.1 GB" in text
    largest = int(re.search(r"the largest that fits is (\d+)$", text)[1])
    check(24, largest)
    with pytest.raises(InvalidRequest):
        check(24, largest + 1)


def test_weights_alone_can_be_too_much():
    with pytest.raises(InvalidRequest, match="no cache fits: quantise the weights"):
        check(16, 2048)
