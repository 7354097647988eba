"""TensorRT-LLM's own checkpoints: config.json in its words, and rank0.safetensors.

Its tensors bear the names that our checkpoints have, so they are taken as they are. Linear weights
are [out, in]; FP8 ones have scales beside them, number = e4m3 * scale:
  FP8                        weights_scaling_factor [1], activation_scaling_factor [1]
  FP8_PER_CHANNEL_PER_TOKEN  per_channel_scale [out]
and, for an FP8 KV cache, attention.kv_cache_scaling_factor (of keys and values; Nacelle writes one
for each beside it). mlp.fc is the gate, mlp.gate the up projection.
"""

from collections.abc import Mapping
from typing import Any, Final

from nacelle_builder.source.formats.fields import Fields
from nacelle_builder.source.kv_scales import KvNames
from nacelle_builder.source.stored import Granularity, Stored
from nacelle_builder.source.tensors import TensorIndex
from nacelle_engine.errors import UnsupportedModel
from nacelle_engine.model.scales import (
    ACTIVATION,
    K_CACHE,
    KV_CACHE,
    PER_CHANNEL,
    PER_TENSOR,
    V_CACHE,
    attention_scale,
)

_MIXED: Final = ("Qwen", "Gemma")
# How transformers calls the models of an architecture.
_MODEL_TYPES: Final = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "Phi3ForCausalLM": "phi3",
    "Gemma2ForCausalLM": "gemma2",
    "Gemma3ForCausalLM": "gemma3_text",
}
_QWEN: Final = {"qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
# Its names of what Hugging Face's config.json says under another one.
_RENAMED: Final = {
    "head_size": "head_dim",
    "norm_epsilon": "rms_norm_eps",
    "rotary_base": "rope_theta",
    "rotary_scaling": "rope_scaling",
    "share_embedding_table": "tie_word_embeddings",
}
_SAME: Final = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
    "query_pre_attn_scalar",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "rope_local_base_freq",
    "layer_types",
    "mlp_bias",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)
# Notes of whoever wrote it, and choices of its own programs: none changes a number of the model.
_NOTES: Final = (
    "producer",
    "logits_dtype",
    "use_parallel_embedding",
    "embedding_sharding_dim",
    "runtime_defaults",
    "has_partial_lora_mask",
    "disable_weight_only_quant_plugin",
    "model_type",
    "qwen_type",
    "qk_layernorm",
    "inter_layernorms",
    "attn_bias",
    "dense_bias",
)


def is_tensorrt_llm(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is in TensorRT-LLM's words."""
    return isinstance(config.get("architecture"), str) and "architectures" not in config


def hugging_face_config(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The same model in Hugging Face's words; what changes numbers and is not known is refused."""
    fields = Fields(config, where)
    _check_ranks(fields)
    fields.take("quantization")
    fields.only("position_embedding_type", ("rope_gpt_neox",), "rope_gpt_neox")
    fields.only("dtype", ("bfloat16", "float16", "float32"), "bfloat16")
    architecture = _architecture(fields.take("architecture"), config, where)
    made: dict[str, Any] = {
        "architectures": [architecture],
        "model_type": _MODEL_TYPES[architecture],
        **{name: fields.take(name) for name in _SAME},
        **{theirs: fields.take(name) for name, theirs in _RENAMED.items()},
    }
    activation = fields.take("hidden_act", "silu")
    made["hidden_act" if activation == "silu" else "hidden_activation"] = activation
    window = fields.take("sliding_window")
    made |= {"sliding_window": window, "use_sliding_window": window is not None}
    factor = fields.take("rotary_pct", 1.0)
    if factor != 1.0:
        made["partial_rotary_factor"] = factor
    # Its own Qwen 2 has a bias of qkv alone, and no field for that of dense.
    own = architecture == "Qwen2ForCausalLM"
    made["attention_bias"] = bool(config.get("dense_bias", config.get("attn_bias") and not own))
    made["layer_types"] = _layer_types(made["layer_types"], architecture, where)
    made["query_pre_attn_scalar"] = _score_scale(made["query_pre_attn_scalar"], made["head_dim"])
    fields.skip(*_NOTES)
    fields.finish()
    absent = (
        "query_pre_attn_scalar",
        "layer_types",
        "rope_local_base_freq",
        "rope_scaling",
        "mlp_bias",
        *_TOKENS,
    )
    return {name: v for name, v in made.items() if v is not None or name not in absent}


_TOKENS: Final = ("bos_token_id", "eos_token_id", "pad_token_id")


def read_tensorrt_llm(config: Mapping[str, Any], where: str) -> Stored | None:
    """How its linears are stored; None for plain ones."""
    fields = Fields(config.get("quantization") or {}, f"{where}: quantization")
    algorithm = fields.only("quant_algo", (None, "FP8", "FP8_PER_CHANNEL_PER_TOKEN"))
    kv_cache = fields.only("kv_cache_quant_algo", (None, "FP8")) is not None
    excluded = fields.names("exclude_modules")
    fields.skip("group_size", "smoothquant_val", "has_zero_point", "pre_quant_scale", "clamp_val")
    fields.skip("use_meta_recipe")
    fields.finish()
    if algorithm is None:
        return None
    static = algorithm == "FP8"
    return Stored(
        origin=f"TensorRT-LLM's {algorithm} in {where}",
        weights=Granularity.TENSOR if static else Granularity.CHANNEL,
        static_inputs=static,
        kv_cache=kv_cache,
        excluded=excluded,
        weight_scale=PER_TENSOR if static else PER_CHANNEL,
        input_scales=(ACTIVATION,),
    )


def kv_scales_of(index: TensorIndex, layers: int) -> tuple[KvNames, ...]:
    """Each layer's scales of keys and values: one of each, or the one for both; none: no cache."""
    for kinds in ((K_CACHE, V_CACHE), (KV_CACHE, KV_CACHE)):
        if attention_scale(0, kinds[0]) in index.entries:
            names = (
                KvNames(*(attention_scale(layer, kind) for kind in kinds))
                for layer in range(layers)
            )
            return tuple(names)
    return ()


def _check_ranks(fields: Fields) -> None:
    mapping = Fields(fields.take("mapping") or {}, f"{fields.where}: mapping")
    for name in ("world_size", "tp_size", "pp_size", "cp_size", "moe_tp_size", "moe_ep_size"):
        mapping.only(name, (1,), 1)
    mapping.skip("gpus_per_node", "auto_parallel", "rank", "attn_tp_size", "attn_cp_size")
    mapping.finish()


def _layer_types(told: Any, architecture: str, where: str) -> Any:
    """The kinds of layers, for the families that mix them; the others have one kind alone."""
    if architecture.startswith(_MIXED) or told is None:
        return told
    if len(set(told)) > 1:
        raise UnsupportedModel(
            f"{where}: layer_types {sorted(set(told))} is not supported for {architecture}, whose "
            "layers are all of one kind"
        )
    return None


def _score_scale(value: Any, head_dim: Any) -> Any:
    """query_pre_attn_scalar; a head's own size is what leaves it out."""
    if value is None or value == head_dim:
        return None
    return int(value) if value == int(value) else value


def _architecture(name: str, config: Mapping[str, Any], where: str) -> str:
    known = _QWEN.get(str(config.get("qwen_type")), name) if name == "QWenForCausalLM" else name
    if known not in _MODEL_TYPES:
        raise UnsupportedModel(
            f"{where}: architecture {name!r} is not supported; known are {', '.join(_MODEL_TYPES)}"
        )
    return known
