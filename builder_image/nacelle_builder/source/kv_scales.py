"""Scales of keys and values that a ready-made checkpoint brings: where they are, and their values.

self_attn.k_scale and v_scale (compressed-tensors, AutoFP8), k_proj.k_scale and v_proj.v_scale
(modelopt), k_proj.output_scale and v_proj.output_scale (older), or one self_attn.kv_scale for both.
"""

from typing import Final, NamedTuple

from nacelle_builder.source.tensors import TensorIndex
from nacelle_engine.errors import TensorInvalid, TensorMissing

_SPELLINGS: Final = (
    ("k_scale", "v_scale"),
    ("k_proj.k_scale", "v_proj.v_scale"),
    ("k_proj.output_scale", "v_proj.output_scale"),
    ("kv_scale", "kv_scale"),
)


class KvNames(NamedTuple):
    """The tensors with the scales of one layer's keys and values."""

    k: str
    v: str


def kv_scale_names(index: TensorIndex, layers: int) -> tuple[KvNames, ...]:
    """Each layer's scale tensors, none where no layer has any; some alone are refused."""
    found = [_of_layer(index, f"model.layers.{layer}.self_attn") for layer in range(layers)]
    names = tuple(layer for layer in found if layer is not None)
    if names and len(names) != layers:
        raise TensorMissing(
            f"layer {found.index(None)} has no scales of keys and values, while {names[0].k} "
            "is there: they must be there for every layer or for none"
        )
    return names


def _of_layer(index: TensorIndex, attention: str) -> KvNames | None:
    for k, v in _SPELLINGS:
        names = KvNames(f"{attention}.{k}", f"{attention}.{v}")
        there = [name for name in names if name in index.entries]
        if not there:
            continue
        for name in names:
            if name not in index.entries:
                raise TensorMissing(f"tensor {name} is in no safetensors file, while {there[0]} is")
            shape = index.entries[name].shape
            if shape not in ((), (1,)):
                raise TensorInvalid(
                    f"{index.entries[name].file}: tensor {name} has shape {list(shape)}; a scale "
                    "of keys or values is one number"
                )
            index.require(name, shape)
        return names
    return None
