"""Rotary frequencies from a Hugging Face configuration."""

import math
from collections.abc import Mapping
from typing import Any

from nacelle_engine.errors import UnsupportedModel


def rope_parameters(config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """(type, parameters) of the rotary embedding, from either spelling of config.json."""
    parameters = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = parameters.get("rope_type") or parameters.get("type") or "default"
    theta = parameters.get("rope_theta", config.get("rope_theta", 10_000.0))
    return kind, {**parameters, "rope_theta": float(theta)}


def inverse_frequencies(
    kind: str, parameters: Mapping[str, Any], head_dim: int
) -> tuple[float, ...]:
    """f[j] = theta^(-2j / head_dim) for j < head_dim / 2, stretched as `kind` asks.

    default: as is. linear: f / factor. llama3 (Llama 3.1, rope_type "llama3"): f / factor where
    the wavelength is above original_len / low_freq_factor, f where below original_len /
    high_freq_factor, and between them the mix that is linear in original_len / wavelength.
    """
    theta = parameters["rope_theta"]
    plain = tuple(theta ** (-2.0 * j / head_dim) for j in range(head_dim // 2))
    if kind == "default":
        return plain
    if kind == "linear":
        return tuple(f / float(parameters["factor"]) for f in plain)
    if kind == "llama3":
        return tuple(_llama3(f, parameters) for f in plain)
    raise UnsupportedModel(
        f"config.json: rope type {kind!r} is not supported; known are default, linear, llama3"
    )


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
