"""compressed-tensors' float-quantized checkpoints (quant_method "compressed-tensors").

quantization_config: {"format": "float-quantized", "config_groups": {name: {"targets": ["Linear"],
"weights": {...}, "input_activations": {...}}}, "ignore", "kv_cache_scheme"}. Tensors beside
<module>.weight (F8_E4M3), by the weights' strategy:
  tensor   weight_scale [1], with static inputs input_scale [1]
  channel  weight_scale [out, 1]
  block    weight_scale [out / rows, in / columns], rounded up
and, for an FP8 KV cache, self_attn.k_scale and self_attn.v_scale.
"""

from typing import Any, Final

from nacelle_builder.source.formats.fields import Fields
from nacelle_builder.source.stored import Granularity, Stored
from nacelle_engine.errors import InvalidModel, UnsupportedModel

_GRANULARITY: Final = {
    "tensor": Granularity.TENSOR,
    "channel": Granularity.CHANNEL,
    "block": Granularity.BLOCK,
}
_NOTES: Final = ("observer", "observer_kwargs", "scale_dtype", "zp_dtype")


def read_compressed_tensors(config: Any, where: str) -> Stored:
    """What the config says; other formats, mixtures and unknown fields are refused by name."""
    fields = Fields(config, where)
    fields.skip("quant_method", "global_compression_ratio", "version", "provider")
    fields.only("format", ("float-quantized",))
    fields.only("quantization_status", (None, "compressed", "frozen"))
    _check_dense(fields)
    group, place = _only_group(fields)
    kv_cache = _kv_cache(fields)
    excluded = fields.names("ignore")
    fields.finish()
    group.only("format", (None, "float-quantized"))
    if group.take("targets") != ["Linear"]:
        raise UnsupportedModel(f'{place}: targets must be ["Linear"]: all linears in one way')
    granularity, block = _weights(Fields(group.take("weights"), f"{place}: weights"))
    static = _static_inputs(group, granularity, place)
    group.finish()
    return Stored(
        origin=f"compressed-tensors in {where}",
        weights=granularity,
        static_inputs=static,
        kv_cache=kv_cache,
        excluded=excluded,
        block=block,
    )


def _check_dense(fields: Fields) -> None:
    """Sparsity and transforms change what the stored numbers stand for."""
    if sparsity := fields.take("sparsity_config", {}):
        inner = Fields(sparsity, f"{fields.where}: sparsity_config")
        inner.only("format", ("dense",))
    if fields.take("transform_config", {}):
        raise UnsupportedModel(
            f"{fields.where}: transform_config is not supported: weights that were rotated need "
            "their inputs rotated too"
        )


def _only_group(fields: Fields) -> tuple[Fields, str]:
    groups = fields.take("config_groups")
    if not isinstance(groups, dict) or not groups:
        raise InvalidModel(f"{fields.where}: config_groups is missing")
    if len(groups) > 1:
        raise UnsupportedModel(
            f"{fields.where}: config_groups {', '.join(sorted(groups))}: linears quantised in "
            "several ways are not supported; only one group is"
        )
    name, value = next(iter(groups.items()))
    place = f"{fields.where}: config_groups.{name}"
    return Fields(value, place), place


def _weights(fields: Fields) -> tuple[Granularity, tuple[int, int]]:
    _eight_bit_floats(fields)
    fields.only("dynamic", (False,), False)
    granularity = _GRANULARITY[fields.only("strategy", _GRANULARITY, "tensor")]
    block = fields.pair("block_structure")
    fields.finish()
    if granularity != Granularity.BLOCK:
        return granularity, (1, 1)
    if block is None:
        raise InvalidModel(f"{fields.where}: strategy 'block' without block_structure")
    return granularity, block


def _static_inputs(group: Fields, granularity: Granularity, place: str) -> bool:
    value = group.take("input_activations")
    if value is None:
        raise UnsupportedModel(
            f"{place}: input_activations is missing: a checkpoint whose inputs are not quantised "
            "has no algorithm here"
        )
    fields = Fields(value, f"{place}: input_activations")
    _eight_bit_floats(fields)
    dynamic = fields.only("dynamic", (True, False), False)
    if not dynamic and granularity != Granularity.TENSOR:
        raise UnsupportedModel(
            f"{fields.where}: static inputs with weights {granularity} are not supported; "
            "with weights per tensor they are"
        )
    if granularity == Granularity.BLOCK:
        fields.only("strategy", ("token", "group"))
        fields.take("group_size")
    else:
        fields.only("strategy", ("token",) if dynamic else ("tensor",), "tensor")
    fields.skip("block_structure")
    fields.finish()
    return not dynamic


def _kv_cache(fields: Fields) -> bool:
    scheme = fields.take("kv_cache_scheme")
    if scheme is None:
        return False
    inner = Fields(scheme, f"{fields.where}: kv_cache_scheme")
    _eight_bit_floats(inner)
    inner.only("strategy", ("tensor",), "tensor")
    inner.only("dynamic", (False,), False)
    inner.finish()
    return True


def _eight_bit_floats(fields: Fields) -> None:
    fields.only("num_bits", (8,))
    fields.only("type", ("float",))
    fields.only("symmetric", (True,), True)
    fields.only("actorder", (None,))
    fields.skip(*_NOTES)
