"""modelopt's FP8 checkpoints: quant_method "modelopt" in config.json, or hf_quant_config.json.

hf_quant_config.json: {"producer", "quantization": {"quant_algo", "kv_cache_quant_algo",
"exclude_modules"}}. config.json's quantization_config says the same as {"quant_algo",
"kv_cache_scheme", "ignore", "config_groups"}. Tensors beside <module>.weight (F8_E4M3):
  FP8                        weight_scale [], input_scale []
  FP8_PER_CHANNEL_PER_TOKEN  weight_scale [out]
  FP8_PB_WO                  weight_scale [out / 128, 1, in / 128, 1]
and, for an FP8 KV cache, k_proj.k_scale and v_proj.v_scale.
"""

from typing import Any, Final

from nacelle_builder.source.formats.fields import Fields
from nacelle_builder.source.stored import Granularity, Stored

_GRANULARITY: Final = {
    "FP8": Granularity.TENSOR,
    "FP8_PER_CHANNEL_PER_TOKEN": Granularity.CHANNEL,
    "FP8_PB_WO": Granularity.BLOCK,
}
_BLOCK: Final = (128, 128)


def read_modelopt(config: Any, where: str) -> Stored:
    """What either spelling says; other algorithms and unknown fields are refused by name."""
    fields = Fields(config, where)
    fields.skip("producer", "quant_method", "quant_library")
    inner = fields.take("quantization")
    if inner is not None:
        fields.finish()
        fields = Fields(inner, f"{where}: quantization")
    algorithm = fields.take("quant_algo")
    if isinstance(algorithm, str):
        algorithm = algorithm.upper()
    algorithm = Fields({"quant_algo": algorithm}, fields.where).only("quant_algo", _GRANULARITY)
    kv_cache = _kv_cache(fields)
    excluded = fields.names("exclude_modules", "ignore")
    # They repeat quant_algo; whether weights are per channel is only in quant_algo.
    fields.skip("config_groups")
    if algorithm == "FP8_PB_WO":
        fields.only("group_size", (None, _BLOCK[1]))
    fields.finish()
    return Stored(
        origin=f"modelopt {algorithm} in {where}",
        weights=_GRANULARITY[algorithm],
        static_inputs=algorithm == "FP8",
        kv_cache=kv_cache,
        excluded=excluded,
        block=_BLOCK,
    )


def _kv_cache(fields: Fields) -> bool:
    scheme = fields.take("kv_cache_scheme")
    if isinstance(scheme, dict):
        inner = Fields(scheme, f"{fields.where}: kv_cache_scheme")
        inner.only("num_bits", (8,))
        inner.only("type", ("float",))
        inner.only("dynamic", (False,), False)
        inner.finish()
        return True
    spelled = Fields({"kv_cache_scheme": scheme}, fields.where)
    named = spelled.only("kv_cache_scheme", (None, "FP8"))
    return fields.only("kv_cache_quant_algo", (None, "FP8")) is not None or named is not None
