"""Which layers slide: how each family's config.json tells it."""

from collections.abc import Callable, Mapping
from typing import Any

from nacelle_engine.errors import InvalidModel, UnsupportedModel
from nacelle_engine.model.spec import KindName

LayerTypes = Callable[[Mapping[str, Any]], tuple[KindName, ...]]

_NAMES: Mapping[str, KindName] = {"full_attention": "full", "sliding_attention": "sliding"}


def all_full(config: Mapping[str, Any]) -> tuple[KindName, ...]:
    """No layer slides."""
    kind: KindName = "full"
    return (kind,) * int(config["num_hidden_layers"])


def all_sliding(config: Mapping[str, Any]) -> tuple[KindName, ...]:
    """Every layer slides when there is a sliding_window."""
    kind: KindName = "full" if config.get("sliding_window") is None else "sliding"
    return (kind,) * int(config["num_hidden_layers"])


def from_max_window_layers(config: Mapping[str, Any]) -> tuple[KindName, ...]:
    """With use_sliding_window, as layer_types says, else the layers from max_window_layers on."""
    if not config["use_sliding_window"] or config.get("sliding_window") is None:
        return all_full(config)
    first = int(config["max_window_layers"])
    return _told(config) or tuple(
        "sliding" if layer >= first else "full" for layer in range(config["num_hidden_layers"])
    )


def every_nth_full(config: Mapping[str, Any]) -> tuple[KindName, ...]:
    """As layer_types says, else every sliding_window_pattern-th layer is full, the others slide."""
    pattern = int(config["sliding_window_pattern"])
    if pattern < 1:
        raise InvalidModel(f"config.json: sliding_window_pattern {pattern} must be above 0")
    return _told(config) or tuple(
        "sliding" if (layer + 1) % pattern else "full"
        for layer in range(config["num_hidden_layers"])
    )


def _told(config: Mapping[str, Any]) -> tuple[KindName, ...]:
    """The kinds that config.json lists by itself; none when it does not."""
    told = config.get("layer_types") or ()
    for name in told:
        if name not in _NAMES:
            raise UnsupportedModel(
                f"config.json: layer_types {name!r} is not supported; known are {', '.join(_NAMES)}"
            )
    return tuple(_NAMES[name] for name in told)
