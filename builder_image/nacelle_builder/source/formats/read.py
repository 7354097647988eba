"""The table of ready-made checkpoints: which quant_method is read by what."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from nacelle_builder.source.files import HF_QUANT_CONFIG, CheckpointFiles, read_json
from nacelle_builder.source.formats.compressed_tensors import read_compressed_tensors
from nacelle_builder.source.formats.fp8 import read_fp8
from nacelle_builder.source.formats.modelopt import read_modelopt
from nacelle_builder.source.formats.tensorrt_llm import is_tensorrt_llm, read_tensorrt_llm
from nacelle_builder.source.stored import Stored
from nacelle_engine.errors import InvalidModel, UnsupportedModel

_FORMATS: Final[Mapping[str, Callable[[Any, str], Stored]]] = {
    "modelopt": read_modelopt,
    "compressed-tensors": read_compressed_tensors,
    "fp8": read_fp8,
}


def read_stored(files: CheckpointFiles, config: Mapping[str, Any]) -> Stored | None:
    """How a checkpoint's linears are stored; None for plain ones, unknown methods are refused."""
    own = read_json(files.config)
    if is_tensorrt_llm(own):
        return read_tensorrt_llm(own, str(files.config))
    inside = _from_config(config.get("quantization_config"), f"{files.config}: quantization_config")
    path = files.root / HF_QUANT_CONFIG
    if not path.is_file():
        return inside
    beside = read_modelopt(read_json(path), str(path))
    if inside is not None and (inside.algorithm, inside.weights) != (
        beside.algorithm,
        beside.weights,
    ):
        raise InvalidModel(f"the checkpoint contradicts itself: it holds {inside}, and {beside}")
    return beside


def _from_config(value: Any, where: str) -> Stored | None:
    if value is None:
        return None
    method = value.get("quant_method") if isinstance(value, dict) else None
    reader = _FORMATS.get(str(method))
    if reader is None:
        raise UnsupportedModel(
            f"{where}: quant_method {method!r} is not supported; supported are "
            f"{', '.join(_FORMATS)} in FP8, and plain bfloat16 or float16 checkpoints"
        )
    return reader(value, where)
