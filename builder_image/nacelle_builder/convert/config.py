"""The config.json of a TensorRT-LLM-format checkpoint, under that format's own names."""

from collections.abc import Mapping
from typing import Any

from nacelle_engine.model.rope import rope_parameters
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.precision import Fp8OrNone, Quantization, QuantizationAlgorithm

_ACTIVATIONS = {"silu": "silu", "gelu_tanh": "gelu_pytorch_tanh"}
# Rotary parameters that have fields of their own.
_ROTARY = ("rope_theta", "partial_rotary_factor")


def checkpoint_config(
    config: Mapping[str, Any], spec: ModelSpec, quantization: Quantization
) -> dict[str, Any]:
    """What the checkpoint says of itself; `config` is the model's own config.json."""
    return {
        "architecture": config["architectures"][0],
        "dtype": quantization.compute_type.value,
        "logits_dtype": "float32",
        "vocab_size": spec.vocab_size,
        "hidden_size": spec.hidden_size,
        "intermediate_size": spec.intermediate_size,
        "num_hidden_layers": spec.num_layers,
        "num_attention_heads": spec.num_heads,
        "num_key_value_heads": spec.num_kv_heads,
        "head_size": spec.head_dim,
        "hidden_act": _ACTIVATIONS[spec.activation],
        "norm_epsilon": spec.norm_eps,
        "max_position_embeddings": spec.max_position_embeddings,
        "position_embedding_type": "rope_gpt_neox",
        "rotary_base": spec.rope_theta,
        "rotary_scaling": _rotary_scaling(config),
        "rotary_pct": spec.rotary_dim / spec.head_dim,
        "rope_local_base_freq": spec.sliding_rope_theta,
        "attn_bias": spec.qkv_bias,
        "dense_bias": spec.dense_bias,
        "qk_layernorm": spec.qk_norm,
        "inter_layernorms": spec.output_norms,
        "query_pre_attn_scalar": spec.query_pre_attn_scalar,
        "attn_logit_softcapping": spec.attention_soft_cap,
        "final_logit_softcapping": spec.logits_soft_cap,
        "sliding_window": spec.sliding_window if "sliding" in spec.layer_types else None,
        "layer_types": [f"{name}_attention" for name in spec.layer_types],
        "share_embedding_table": spec.tied_embeddings,
        "quantization": {
            "quant_algo": _or_null(quantization.algorithm, QuantizationAlgorithm.NONE),
            "kv_cache_quant_algo": _or_null(quantization.kv_cache, Fp8OrNone.NONE),
            "exclude_modules": ["lm_head"],
        },
        "mapping": {"world_size": 1, "tp_size": 1, "pp_size": 1},
    }


def _or_null(value: str, none: str) -> str | None:
    return None if value == none else str(value)


def _rotary_scaling(config: Mapping[str, Any]) -> dict[str, Any] | None:
    kind, parameters = rope_parameters(config)
    scaling = {name: value for name, value in parameters.items() if name not in _ROTARY}
    return None if kind == "default" else scaling
