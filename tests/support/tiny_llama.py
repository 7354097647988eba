"""A tiny Llama for GPU programs: random weights with clear winners, and its checkpoint."""

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from nacelle_builder.convert.quantize import (
    dequantize,
    quantize_per_channel,
    quantize_per_tensor,
    scale_of,
)
from nacelle_engine.model.checkpoint import checkpoint_tensors
from nacelle_engine.model.families import family_of
from nacelle_engine.model.family import read_spec, source_names
from nacelle_engine.model.scales import (
    ACTIVATION,
    K_CACHE,
    KV_CACHE,
    PER_CHANNEL,
    PER_TENSOR,
    V_CACHE,
    attention_scale,
    linear_scale,
    sharing,
)
from nacelle_engine.precision import Fp8OrNone, QuantizationAlgorithm
from nacelle_engine.program.signature import WEIGHTS

VOCAB = 97
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "tie_word_embeddings": False,
}
SPEC = read_spec(CONFIG)
# Sizes that FP8 blocks of 128 columns divide; four query heads share a KV head.
BLOCK_CONFIG = {
    **CONFIG,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_attention_heads": 8,
}
BLOCK_SPEC = read_spec(BLOCK_CONFIG)
# About what the model's inputs, keys and values ask for, and all different.
INPUT_SCALES = {
    "attention.qkv": 0.0080,
    "attention.dense": 0.0095,
    "mlp.fc": 0.0085,
    "mlp.gate": 0.0085,
    "mlp.proj": 0.0370,
}
KV_SCALES = ((0.0135, 0.0120), (0.0145, 0.0170))


def random_model(config=CONFIG):
    """transformers' model, its weights such as bfloat16 can hold."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**config)).eval()
    for parameter in model.parameters():
        if parameter.dim() == 2:
            parameter.data.normal_(std=1.5 / parameter.shape[1] ** 0.5)
        parameter.data = parameter.data.bfloat16().float()
    model.lm_head.weight.data.mul_(4)
    return model


def write_weights(model, quantization, rank, config=CONFIG):
    """rank's weights.safetensors; the model gets the values that quantised weights stand for."""
    state, made, spec = model.state_dict(), {}, read_spec(config)
    names = source_names(family_of(config), spec)
    parts = {name: [state[one] for one in source.names] for name, source in names.items()}
    plain = {name: torch.cat(several) for name, several in parts.items()}
    for tensor in checkpoint_tensors(spec):
        if tensor.linear and quantization.algorithm != QuantizationAlgorithm.NONE:
            tensors, values = _linear(tensor.name, plain, quantization.algorithm)
            made |= tensors
            mine = parts[tensor.name]
            for part, value in zip(mine, values.split([len(p) for p in mine]), strict=True):
                part.copy_(value)
        else:
            made[tensor.name] = plain[tensor.name].bfloat16()
    if quantization.kv_cache == Fp8OrNone.FP8:
        for layer, (k, v) in enumerate(KV_SCALES):
            for kind, scale in ((KV_CACHE, max(k, v)), (K_CACHE, k), (V_CACHE, v)):
                made[attention_scale(layer, kind)] = torch.tensor([scale])
    rank.mkdir(exist_ok=True)
    save_file(made, rank / WEIGHTS)


def _linear(name, plain, algorithm):
    """A quantised linear's tensors, and the values that they stand for."""
    if algorithm == QuantizationAlgorithm.FP8:
        largest = max(plain[other].abs().amax() for other in sharing(name))
        made = quantize_per_tensor(plain[name], scale_of(largest.reshape(1)))
        layer, kind = name.removeprefix("transformer.layers.").split(".", 1)
        scale = INPUT_SCALES[kind.removesuffix(".weight")] * (1 + 0.1 * int(layer))
        factors = {PER_TENSOR: made.scale, ACTIVATION: torch.tensor([scale])}
    else:
        made = quantize_per_channel(plain[name])
        factors = {PER_CHANNEL: made.scale}
    named = {linear_scale(name, kind): factor for kind, factor in factors.items()}
    return {name: made.weight, **named}, dequantize(made.weight, made.scale)
