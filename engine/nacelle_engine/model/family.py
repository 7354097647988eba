"""From a Hugging Face config.json to the ModelSpec, and to the tensors that fill its checkpoint."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from nacelle_engine.errors import InvalidModel, UnsupportedModel
from nacelle_engine.model import names
from nacelle_engine.model.checkpoint import checkpoint_tensors
from nacelle_engine.model.families import Family, family_of
from nacelle_engine.model.rope import (
    inverse_frequencies,
    rope_parameters,
    sliding_rope_parameters,
    told_by_layer_type,
)
from nacelle_engine.model.source import Source
from nacelle_engine.model.spec import ModelSpec

# Checkpoint tensors that a family's norm_offset is added to.
_NORMS = ("layernorm.weight", "ln_f.weight")


def read_spec(config: Mapping[str, Any]) -> ModelSpec:
    """The ModelSpec of a config.json; what is not supported is refused by name."""
    family = family_of(config)
    for field, only in family.refused.items():
        if config.get(field) not in (None, only):
            _refuse(field, config[field], family, only)
    try:
        return _spec(family, {**family.defaults, **config})
    except KeyError as error:
        raise InvalidModel(f"config.json: field {error.args[0]} is missing") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidModel(f"config.json: {where} {first['msg']}".replace("  ", " ")) from error


def source_names(family: Family, spec: ModelSpec) -> dict[str, Source]:
    """Checkpoint tensor -> the Hugging Face tensors that it is made of, for every tensor."""
    sources = {}
    for tensor in checkpoint_tensors(spec):
        parts = tensor.name.split(".", 3)
        if parts[1] == "layers":
            source = family.layer_names[parts[3]].within(f"model.layers.{parts[2]}.")
        else:
            source = names.MODEL[tensor.name]
        norm = tensor.name.endswith(_NORMS)
        sources[tensor.name] = replace(source, offset=family.norm_offset if norm else 0.0)
    return sources


def _spec(family: Family, config: Mapping[str, Any]) -> ModelSpec:
    _positive(config, ("hidden_size", "num_attention_heads", "num_hidden_layers"))
    heads: int = config["num_attention_heads"]
    head_dim: int = config.get("head_dim") or config["hidden_size"] // heads
    biased: bool = config.get("attention_bias") or False
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
        tied_embeddings=config.get("tie_word_embeddings", False),
        activation=family.activation,
        layer_types=family.layer_types(config),
        sliding_window=config.get("sliding_window"),
        qkv_bias=family.qkv_bias or biased,
        dense_bias=biased,
        qk_norm=family.qk_norm,
        output_norms=family.output_norms,
        embedding_scale=config["hidden_size"] ** 0.5 if family.scaled_embedding else None,
        query_pre_attn_scalar=config.get("query_pre_attn_scalar") or head_dim,
        attention_soft_cap=config.get("attn_logit_softcapping"),
        logits_soft_cap=config.get("final_logit_softcapping"),
        **_rope(family, config, head_dim),
    )


def _rope(family: Family, config: Mapping[str, Any], head_dim: int) -> dict[str, Any]:
    """The spec's fields of the rotary embedding."""
    if told_by_layer_type(config) and not family.sliding_rope:
        raise UnsupportedModel(
            f"config.json: rope_parameters by layer type is not supported for {family.name}"
        )
    theta, frequencies = _frequencies(family, config, *rope_parameters(config), head_dim)
    fields = {"rope_theta": theta, "inverse_frequencies": frequencies}
    if family.sliding_rope:
        sliding = sliding_rope_parameters(config)
        theta, frequencies = _frequencies(family, config, *sliding, head_dim)
        fields |= {"sliding_rope_theta": theta, "sliding_inverse_frequencies": frequencies}
    return fields


def _frequencies(
    family: Family,
    config: Mapping[str, Any],
    kind: str,
    parameters: Mapping[str, Any],
    head_dim: int,
) -> tuple[float, tuple[float, ...]]:
    """(theta, inverse frequencies) of one kind of layer."""
    factor = parameters.get("partial_rotary_factor", config.get("partial_rotary_factor"))
    factor = 1.0 if factor is None else factor
    if factor != 1.0 and not family.partial_rotary:
        _refuse("partial_rotary_factor", factor, family, 1.0)
    rotary_dim = int(head_dim * factor)
    if not 2 <= rotary_dim <= head_dim or rotary_dim % 2:
        raise InvalidModel(
            f"config.json: partial_rotary_factor {factor!r} rotates {rotary_dim} of a head's "
            f"{head_dim} dimensions; must be an even number from 2 to {head_dim}"
        )
    return parameters["rope_theta"], inverse_frequencies(kind, parameters, rotary_dim)


def _refuse(field: str, value: Any, family: Family, only: Any) -> None:
    raise UnsupportedModel(
        f"config.json: {field} {value!r} is not supported for {family.name}; only {only!r} is"
    )


def _positive(config: Mapping[str, Any], fields: tuple[str, ...]) -> None:
    for field in fields:
        if not isinstance(config[field], int) or config[field] < 1:
            raise InvalidModel(f"config.json: {field} {config[field]!r} must be a whole number > 0")
