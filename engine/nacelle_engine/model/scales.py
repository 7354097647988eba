"""The names of scales in a TensorRT-LLM-format checkpoint, beside the tensors they belong to.

<linear>.per_channel_scale            float32 [out]  FP8_PER_CHANNEL_PER_TOKEN: of the weight
<linear>.weights_scaling_factor       float32 [1]    FP8: of the weight
<linear>.activation_scaling_factor    float32 [1]    FP8: of the linear's input
attention.kv_cache_scaling_factor     float32 [1]    FP8 KV cache: the larger of the two below
attention.k_cache_scaling_factor      float32 [1]    Nacelle's: of the keys, after rope
attention.v_cache_scaling_factor      float32 [1]    Nacelle's: of the values
Every scale is multiplied: number = e4m3 * scale. mlp.fc and mlp.gate have the same factors: they
read one input, and programs join them to one weight.
"""

from typing import Final

PER_CHANNEL: Final = "per_channel_scale"
PER_TENSOR: Final = "weights_scaling_factor"
ACTIVATION: Final = "activation_scaling_factor"
KV_CACHE: Final = "kv_cache_scaling_factor"
K_CACHE: Final = "k_cache_scaling_factor"
V_CACHE: Final = "v_cache_scaling_factor"

_FC, _GATE = "mlp.fc.weight", "mlp.gate.weight"


def sharing(weight: str) -> tuple[str, ...]:
    """The weights that share their factors with a linear's weight, itself among them."""
    for one in (_FC, _GATE):
        if weight.endswith(one):
            return tuple(weight.removesuffix(one) + other for other in (_FC, _GATE))
    return (weight,)


def linear_scale(weight: str, kind: str) -> str:
    """The name of a linear's scale, from its weight's name."""
    return f"{weight.removesuffix('.weight')}.{kind}"


def attention_scale(layer: int, kind: str) -> str:
    """The name of a scale of one layer's KV cache."""
    return f"transformer.layers.{layer}.attention.{kind}"
