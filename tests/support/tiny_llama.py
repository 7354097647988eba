"""A tiny Llama for GPU programs: random weights with clear winners, and its checkpoint."""

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from nacelle_builder.convert.quantize import dequantize, quantize_per_channel
from nacelle_engine.model.checkpoint import checkpoint_tensors
from nacelle_engine.model.families import family_of
from nacelle_engine.model.family import read_spec, source_names
from nacelle_engine.model.scales import PER_CHANNEL, linear_scale
from nacelle_engine.precision import QuantizationAlgorithm
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


def random_model():
    """transformers' model, its weights such as bfloat16 can hold."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**CONFIG)).eval()
    for parameter in model.parameters():
        if parameter.dim() == 2:
            parameter.data.normal_(std=1.5 / parameter.shape[1] ** 0.5)
        parameter.data = parameter.data.bfloat16().float()
    model.lm_head.weight.data.mul_(4)
    return model


def write_weights(model, quantization, rank):
    """rank's weights.safetensors; the model gets the values that quantised weights stand for."""
    state, made = model.state_dict(), {}
    names = source_names(family_of(CONFIG), SPEC)
    fp8 = quantization.algorithm != QuantizationAlgorithm.NONE
    for tensor in checkpoint_tensors(SPEC):
        parts = [state[name] for name in names[tensor.name].names]
        whole = torch.cat(parts)
        if tensor.linear and fp8:
            quantised = quantize_per_channel(whole)
            made[tensor.name] = quantised.weight
            made[linear_scale(tensor.name, PER_CHANNEL)] = quantised.scale
            values = dequantize(quantised.weight, quantised.scale)
            for part, value in zip(parts, values.split([len(p) for p in parts]), strict=True):
                part.copy_(value)
        else:
            made[tensor.name] = whole.bfloat16()
    rank.mkdir(exist_ok=True)
    save_file(made, rank / WEIGHTS)
