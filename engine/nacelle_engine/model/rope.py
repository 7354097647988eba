"""Rotary frequencies from a Hugging Face configuration."""

import math
from collections.abc import Mapping
from typing import Any

from nacelle_engine.errors import InvalidModel, UnsupportedModel

# How config.json names the parameters of full and of sliding layers, where they differ.
_FULL, _SLIDING = "full_attention", "sliding_attention"


def rope_parameters(config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """(type, parameters) of the rotary embedding, from either spelling of config.json.

    Where parameters are told by kind of layer, these are the full layers'.
    """
    parameters = _object(config, "rope_parameters") or _object(config, "rope_scaling")
    return _typed(_object(parameters, _FULL) or parameters, config, "rope_theta")


def sliding_rope_parameters(config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The same of sliding layers: unscaled by rope_scaling, with a base of their own."""
    parameters = _object(_object(config, "rope_parameters"), _SLIDING)
    return _typed(parameters, config, "rope_local_base_freq")


def told_by_layer_type(config: Mapping[str, Any]) -> bool:
    """Whether config.json has parameters for each kind of layer."""
    parameters = _object(config, "rope_parameters")
    return any(isinstance(value, Mapping) for value in parameters.values())


def inverse_frequencies(
    kind: str, parameters: Mapping[str, Any], rotary_dim: int
) -> tuple[float, ...]:
    """f[j] = theta^(-2j / rotary_dim) for j < rotary_dim / 2, stretched as `kind` asks.

    default: as is. linear: f / factor. llama3 (Llama 3.1, rope_type "llama3"): f / factor where
    the wavelength is above original_len / low_freq_factor, f where below original_len /
    high_freq_factor, and between them the mix that is linear in original_len / wavelength.
    """
    theta = _positive(parameters, "rope_theta")
    plain = tuple(theta ** (-2.0 * j / rotary_dim) for j in range(rotary_dim // 2))
    if kind == "default":
        return plain
    if kind == "linear":
        return tuple(f / _positive(parameters, "factor") for f in plain)
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


def _object(config: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    value = config.get(field) or {}
    if not isinstance(value, Mapping):
        raise InvalidModel(f"config.json: {field} {value!r} is no JSON object")
    return value


def _positive(parameters: Mapping[str, Any], field: str) -> float:
    value = float(parameters[field])
    if not value > 0:
        raise InvalidModel(f"config.json: rope's {field} {value:g} must be above 0")
    return value


def _llama3(frequency: float, parameters: Mapping[str, Any]) -> float:
    factor = _positive(parameters, "factor")
    low = _positive(parameters, "low_freq_factor")
    high = _positive(parameters, "high_freq_factor")
    if low >= high:
        raise InvalidModel(
            f"config.json: rope's low_freq_factor {low:g} must be below high_freq_factor {high:g}"
        )
    turns = float(parameters["original_max_position_embeddings"]) * frequency / (2 * math.pi)
    if turns < low:
        return frequency / factor
    if turns > high:
        return frequency
    mix = (turns - low) / (high - low)
    return (1 - mix) * frequency / factor + mix * frequency
