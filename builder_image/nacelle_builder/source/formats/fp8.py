"""quant_method "fp8": AutoFP8's checkpoints per tensor, and those in blocks.

quantization_config: {"activation_scheme": "static" | "dynamic", "ignored_layers" or
"modules_to_not_convert", "kv_cache_scheme", "weight_block_size"}. Tensors beside <module>.weight
(F8_E4M3):
  per tensor  weight_scale [] or [1]; with static inputs input_scale, in old ones act_scale
  in blocks   weight_scale_inv [out / rows, in / columns], rounded up; it is multiplied all the same
and, for an FP8 KV cache, self_attn.kv_scale, or k_scale and v_scale.
"""

from typing import Any

from nacelle_builder.source.formats.fields import Fields
from nacelle_builder.source.stored import Granularity, Stored
from nacelle_engine.errors import UnsupportedModel


def read_fp8(config: Any, where: str) -> Stored:
    """What the config says; other schemes and unknown fields are refused by name."""
    fields = Fields(config, where)
    fields.skip("quant_method")
    fields.only("fmt", (None, "e4m3"))
    fields.only("scale_fmt", (None, "float"))
    static = fields.only("activation_scheme", ("static", "dynamic")) == "static"
    kv_cache = fields.only("kv_cache_scheme", (None, "static")) is not None
    excluded = fields.names("ignored_layers", "modules_to_not_convert")
    block = fields.pair("weight_block_size")
    fields.finish()
    if block is None:
        return Stored(
            origin=f"fp8 in {where}",
            weights=Granularity.TENSOR,
            static_inputs=static,
            kv_cache=kv_cache,
            excluded=excluded,
            input_scales=("input_scale", "act_scale"),
        )
    if static:
        raise UnsupportedModel(
            f"{where}: activation_scheme 'static' with weight_block_size is not supported; "
            "'dynamic' is"
        )
    return Stored(
        origin=f"fp8 in {where}",
        weights=Granularity.BLOCK,
        static_inputs=False,
        kv_cache=kv_cache,
        excluded=excluded,
        weight_scale="weight_scale_inv",
        block=block,
    )
