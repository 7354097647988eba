"""Rotary frequencies from a Hugging Face configuration."""

import math
from collections.abc import Mapping
from typing import Any

from nacelle_engine.errors import UnsupportedModel

# How config.json names the parameters of full and of sliding layers, where they differ.
_FULL, _SLIDING = "full_attention", "sliding_attention"


def rope_parameters(config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """(type, parameters) of the rotary embedding, from either spelling of config.json.

    Where parameters are told by kind of layer, these are the full layers'.
    """
    parameters = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return _typed(parameters.get(_FULL) or parameters, config, "rope_theta")


def sliding_rope_parameters(config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The same of sliding layers: unscaled by rope_scaling, with a base of their own."""
    parameters = (config.get("rope_parameters") or {}).get(_SLIDING) or {}
    return _typed(parameters, config, "rope_local_base_freq")


def told_by_layer_type(config: Mapping[str, Any]) -> bool:
    """Whether config.json has parameters for each kind of layer."""
    parameters = config.get("rope_parameters") or {}
    return any(isinstance(value, Mapping) for value in parameters.values())


def inverse_frequencies(
    kind: str, parameters: Mapping[str, Any], rotary_dim: int
) -> tuple[float, ...]:
    """f[j] = theta^(-2j / rotary_dim) for j < rotary_dim / 2, stretched as `kind` asks.

    default: as is. linear: f / factor. llama3 (Llama 3.1, rope_type "llama3"): f / factor where
    the wavelength is above original_len / low_freq_factor, f where below original_len /
    high_freq_factor, and between them the mix that is linear in original_len / wavelength.
    """
    theta = parameters["rope_theta"]
    plain = tuple(theta ** (-2.0 * j / rotary_dim) for j in range(rotary_dim // 2))
    if kind == "default":
        return plain
    if kind == "linear":
        return tuple(f / float(parameters["factor"]) for f in plain)
    if kind == "llama3":
        return tuple(_llama3(f, parameters) for f in plain)
    raise UnsupportedModel(
        f"config.json: rope type {kind!r} is not supported; known are default, linear, llama3"
    )


def _typed(
    parameters: Mapping[str, Any], config: Mapping[str, Any], base: str
) -> tuple[str, Mapping[str, Any]]:
    kind = parameters.get("rope_type") or parameters.get("type") or "default"
    theta = parameters.get("rope_theta", config.get(base, 10_000.0))
    return kind, {**parameters, "rope_theta": float(theta)}


def _llama3(frequency: float, parameters: Mapping[str, Any]) -> float:
    factor = float(parameters["factor"])
    low = float(parameters["low_freq_factor"])
    high = float(parameters["high_freq_factor"])
    turns = float(parameters["original_max_position_embeddings"]) * frequency / (2 * math.pi)
    if turns < low:
        return frequency / factor
    if turns > high:
        return frequency
    mix = (turns - low) / (high - low)
    return (1 - mix) * frequency / factor + mix * frequency
