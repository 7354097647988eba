"""The table of model families: which architectures are known, and how each config.json is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from nacelle_engine.errors import InvalidModel, UnsupportedModel
from nacelle_engine.model.rope import inverse_frequencies, rope_parameters
from nacelle_engine.model.spec import ModelSpec

HF_LAYER_NAMES: Mapping[str, tuple[str, ...]] = {
    "input_layernorm.weight": ("input_layernorm.weight",),
    "attention.qkv.weight": (
        "self_attn.q_proj.weight",
        "self_attn.k_proj.weight",
        "self_attn.v_proj.weight",
    ),
    "attention.dense.weight": ("self_attn.o_proj.weight",),
    "post_layernorm.weight": ("post_attention_layernorm.weight",),
    # TensorRT-LLM's names: fc is the gate, gate is the up projection.
    "mlp.fc.weight": ("mlp.gate_proj.weight",),
    "mlp.gate.weight": ("mlp.up_proj.weight",),
    "mlp.proj.weight": ("mlp.down_proj.weight",),
}
HF_MODEL_NAMES: Mapping[str, tuple[str, ...]] = {
    "transformer.vocab_embedding.weight": ("model.embed_tokens.weight",),
    "transformer.ln_f.weight": ("model.norm.weight",),
    "lm_head.weight": ("lm_head.weight",),
}


@dataclass(frozen=True)
class Family:
    """One row of the table.

    refused: config.json fields and the only value that is supported; absent counts as it.
    layer_names, model_names: checkpoint name -> Hugging Face names, joined along dimension 0.
    """

    name: str
    architecture: str
    refused: Mapping[str, Any]
    layer_names: Mapping[str, tuple[str, ...]]
    model_names: Mapping[str, tuple[str, ...]]


FAMILIES: Mapping[str, Family] = {
    family.architecture: family
    for family in (
        Family(
            name="llama",
            architecture="LlamaForCausalLM",
            refused={"attention_bias": False, "mlp_bias": False, "hidden_act": "silu"},
            layer_names=HF_LAYER_NAMES,
            model_names=HF_MODEL_NAMES,
        ),
    )
}


def family_of(config: Mapping[str, Any]) -> Family:
    """The family of a config.json; UnsupportedModel names what is not known."""
    architectures = config.get("architectures") or ["(none)"]
    family = FAMILIES.get(architectures[0])
    if family is None:
        known = ", ".join(sorted(FAMILIES))
        raise UnsupportedModel(
            f"config.json: architecture {architectures[0]} is not supported; known are {known}"
        )
    return family


def read_spec(config: Mapping[str, Any]) -> ModelSpec:
    """The ModelSpec of a Hugging Face config.json; what is not supported is refused by name."""
    family = family_of(config)
    for field, only in family.refused.items():
        if config.get(field, only) != only:
            raise UnsupportedModel(
                f"config.json: {field} {config[field]!r} is not supported for {family.name}; "
                f"only {only!r} is"
            )
    try:
        return _spec(family, config)
    except KeyError as error:
        raise InvalidModel(f"config.json: field {error.args[0]} is missing") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidModel(f"config.json: {where} {first['msg']}".replace("  ", " ")) from error


def source_names(family: Family, num_layers: int) -> dict[str, tuple[str, ...]]:
    """Checkpoint name -> the Hugging Face tensors joined along dimension 0 to make it."""
    names = dict(family.model_names)
    for layer in range(num_layers):
        for ours, theirs in family.layer_names.items():
            names[f"transformer.layers.{layer}.{ours}"] = tuple(
                f"model.layers.{layer}.{name}" for name in theirs
            )
    return names


def _spec(family: Family, config: Mapping[str, Any]) -> ModelSpec:
    _positive(config, ("hidden_size", "num_attention_heads"))
    heads: int = config["num_attention_heads"]
    head_dim: int = config.get("head_dim") or config["hidden_size"] // heads
    kind, parameters = rope_parameters(config)
    return ModelSpec(
        family=family.name,
        vocab_size=config["vocab_size"],
        hidden_size=config["hidden_size"],
        intermediate_size=config["intermediate_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=heads,
        num_kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=head_dim,
        max_position_embeddings=config["max_position_embeddings"],
        norm_eps=config["rms_norm_eps"],
        rope_theta=parameters["rope_theta"],
        inverse_frequencies=inverse_frequencies(kind, parameters, head_dim),
        tied_embeddings=config.get("tie_word_embeddings", False),
    )


def _positive(config: Mapping[str, Any], fields: tuple[str, ...]) -> None:
    for field in fields:
        if not isinstance(config[field], int) or config[field] < 1:
            raise InvalidModel(f"config.json: {field} {config[field]!r} must be a whole number > 0")
