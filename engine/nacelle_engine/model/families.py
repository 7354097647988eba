"""The table of model families: which architectures are known, and how they differ."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nacelle_engine.errors import InvalidModel, UnsupportedModel
from nacelle_engine.model.layer_types import (
    LayerTypes,
    all_full,
    all_sliding,
    every_nth_full,
    from_max_window_layers,
)
from nacelle_engine.model.names import GEMMA_LAYER, LLAMA_LAYER, PHI3_LAYER
from nacelle_engine.model.source import Source


@dataclass(frozen=True)
class Family:
    """One row of the table.

    refused: config.json fields and the only value that is supported; absent or null counts as it.
    defaults: what the family's own code takes for fields that config.json leaves out.
    layer_names: checkpoint name -> Hugging Face tensors, both within a layer.
    norm_offset: added to the norms' weights at conversion: Gemma's norm multiplies by 1 + w.
    layer_types: which layers slide.
    qkv_bias, qk_norm, output_norms, activation: as in ModelSpec.
    scaled_embedding: the embedding's rows are multiplied by sqrt(hidden_size).
    partial_rotary: partial_rotary_factor may be below 1.
    sliding_rope: sliding layers have a rotary base of their own.
    """

    name: str
    architecture: str
    refused: Mapping[str, Any]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    layer_names: Mapping[str, Source] = field(default_factory=lambda: LLAMA_LAYER)
    norm_offset: float = 0.0
    layer_types: LayerTypes = all_full
    qkv_bias: bool = False
    qk_norm: bool = False
    output_norms: bool = False
    activation: Literal["silu", "gelu_tanh"] = "silu"
    scaled_embedding: bool = False
    partial_rotary: bool = False
    sliding_rope: bool = False


# What the families before Gemma know nothing of: a config.json that asks for it is of another code.
_PLAIN = {
    "hidden_act": "silu",
    "query_pre_attn_scalar": None,
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
}
_UNBIASED = {**_PLAIN, "attention_bias": False}
_QWEN_WINDOWS = {"use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 28}
_GEMMA = {
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "tie_word_embeddings": True,
}
_GEMMA_REFUSED = {"hidden_activation": "gelu_pytorch_tanh", "use_bidirectional_attention": False}

FAMILIES: Mapping[str, Family] = {
    family.architecture: family
    for family in (
        Family(
            name="llama",
            architecture="LlamaForCausalLM",
            refused={**_PLAIN, "mlp_bias": False},
        ),
        Family(
            name="mistral",
            architecture="MistralForCausalLM",
            refused={**_UNBIASED, "layer_types": None},
            defaults={"sliding_window": 4096},
            layer_types=all_sliding,
        ),
        Family(
            name="qwen2",
            architecture="Qwen2ForCausalLM",
            refused=_UNBIASED,
            defaults=_QWEN_WINDOWS,
            layer_types=from_max_window_layers,
            qkv_bias=True,
        ),
        Family(
            name="qwen3",
            architecture="Qwen3ForCausalLM",
            refused=_PLAIN,
            defaults={"head_dim": 128, **_QWEN_WINDOWS},
            layer_types=from_max_window_layers,
            qk_norm=True,
        ),
        Family(
            name="phi3",
            architecture="Phi3ForCausalLM",
            refused={**_UNBIASED, "layer_types": None},
            layer_names=PHI3_LAYER,
            layer_types=all_sliding,
            partial_rotary=True,
        ),
        Family(
            name="gemma2",
            architecture="Gemma2ForCausalLM",
            refused=_GEMMA_REFUSED,
            defaults={
                **_GEMMA,
                "attn_logit_softcapping": 50.0,
                "final_logit_softcapping": 30.0,
                "sliding_window_pattern": 2,
            },
            layer_names=GEMMA_LAYER,
            norm_offset=1.0,
            layer_types=every_nth_full,
            output_norms=True,
            activation="gelu_tanh",
            scaled_embedding=True,
        ),
        Family(
            name="gemma3",
            architecture="Gemma3ForCausalLM",
            refused={**_GEMMA_REFUSED, "attn_logit_softcapping": None},
            defaults={**_GEMMA, "rope_theta": 1_000_000.0, "sliding_window_pattern": 6},
            layer_names=GEMMA_LAYER,
            norm_offset=1.0,
            layer_types=every_nth_full,
            qk_norm=True,
            output_norms=True,
            activation="gelu_tanh",
            scaled_embedding=True,
            sliding_rope=True,
        ),
    )
}


def family_of(config: Mapping[str, Any]) -> Family:
    """The family of a config.json; UnsupportedModel names what is not known."""
    architectures = config.get("architectures") or ["(none)"]
    if not isinstance(architectures, list):
        raise InvalidModel(f"config.json: architectures {architectures!r} is no list")
    family = FAMILIES.get(str(architectures[0]))
    if family is None:
        known = ", ".join(sorted(FAMILIES))
        raise UnsupportedModel(
            f"config.json: architecture {architectures[0]} is not supported; known are {known}"
        )
    return family
