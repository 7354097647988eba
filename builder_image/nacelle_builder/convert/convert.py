"""Hugging Face safetensors -> TensorRT-LLM-format checkpoint, quantised while it streams.

One output tensor and its sources are in memory at a time. The expected names are consumed to
empty: a tensor missing, left over, of a wrong shape or type, or holding NaN or Inf ends it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nacelle_builder.convert.checkpoint import CONFIG, RANK0
from nacelle_builder.convert.config import checkpoint_config
from nacelle_builder.convert.gather import gather, rows_of
from nacelle_builder.convert.quantize import quantize_per_channel
from nacelle_builder.convert.writer import Slot, TensorWriter
from nacelle_builder.durable import write_durably
from nacelle_builder.report import Report
from nacelle_builder.source.files import CheckpointFiles, read_json
from nacelle_builder.source.tensors import TensorIndex, TensorReader, index_tensors, open_tensors
from nacelle_engine.errors import InvalidModel, TensorUnexpected, UnsupportedModel
from nacelle_engine.model.checkpoint import CheckpointTensor, checkpoint_tensors
from nacelle_engine.model.families import family_of
from nacelle_engine.model.family import read_spec, source_names
from nacelle_engine.model.source import Source
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.precision import Quantization, QuantizationAlgorithm

# Buffers that old checkpoints carry and that the config alone decides.
_RECOMPUTED = ".rotary_emb.inv_freq"
_LM_HEAD = "lm_head.weight"
_EMBEDDING = "model.embed_tokens.weight"


@dataclass(frozen=True)
class Model:
    """A readable source: its config, its spec, its tensors, and which of them make what."""

    config: Mapping[str, Any]
    spec: ModelSpec
    index: TensorIndex
    sources: Mapping[str, Source]


def read_model(files: CheckpointFiles) -> Model:
    """What a checkpoint folder holds; what is not supported is refused by name."""
    config = read_json(files.config)
    if "quantization_config" in config:
        method = config["quantization_config"].get("quant_method", "unknown")
        raise UnsupportedModel(
            f"{files.config}: a checkpoint quantised by {method!r} is not supported yet; "
            "give the plain bfloat16 or float16 one"
        )
    try:
        spec = read_spec(config)
    except (TypeError, ValueError) as error:
        raise InvalidModel(f"{files.config}: {error}") from error
    sources = source_names(family_of(config), spec)
    return Model(config, spec, index_tensors(files.weights), sources)


def convert(model: Model, quantization: Quantization, out: Path, report: Report) -> None:
    """Write the checkpoint folder `out`."""
    tensors = checkpoint_tensors(model.spec)
    check_names(model, tensors)
    out.mkdir(parents=True, exist_ok=True)
    slots = [slot for tensor in tensors for slot in _slots(tensor, quantization)]
    with open_tensors(model.index) as reader, TensorWriter(out / RANK0, slots) as writer:
        _check_tied_head(model, reader)
        for number, tensor in enumerate(tensors):
            values = gather(model.sources[tensor.name], reader.read)
            for name, part in _parts(tensor, values, quantization):
                writer.write(name, part)
            report(100 * (number + 1) // len(tensors), tensor.name)
    config = checkpoint_config(model.config, model.spec, quantization)
    write_durably(out / CONFIG, json.dumps(config, indent=1).encode())


def check_names(model: Model, tensors: tuple[CheckpointTensor, ...]) -> None:
    """Check every source tensor's name, shape and type before any is read."""
    left = {name for name in model.index.entries if not name.endswith(_RECOMPUTED)}
    for tensor in tensors:
        source = model.sources[tensor.name]
        rows = rows_of(model.spec, tensor, source)
        for name, count in zip(source.names, rows, strict=True):
            shape = (count * source.parts, *tensor.shape[1:])
            model.index.require(name, shape, tensor.fields)
            left.discard(name)
    if model.spec.tied_embeddings:
        left.discard(_LM_HEAD)
    if left:
        first = min(left)
        raise TensorUnexpected(
            f"{model.index.entries[first].file}: tensor {first} and {len(left) - 1} more are "
            f"left over: {model.spec.family} has no place for them"
        )


def _check_tied_head(model: Model, reader: TensorReader) -> None:
    """A tied model may store its head again, but only if it is the embedding indeed."""
    if model.spec.tied_embeddings and _LM_HEAD in model.index.entries:
        if torch.equal(reader.read(_LM_HEAD), reader.read(_EMBEDDING)):
            return
        raise TensorUnexpected(
            f"{model.index.entries[_LM_HEAD].file}: {_LM_HEAD} differs from {_EMBEDDING}, "
            "while config.json says tie_word_embeddings"
        )


def _quantized(tensor: CheckpointTensor, quantization: Quantization) -> bool:
    return tensor.linear and quantization.algorithm != QuantizationAlgorithm.NONE


def _slots(tensor: CheckpointTensor, quantization: Quantization) -> Iterator[Slot]:
    if _quantized(tensor, quantization):
        yield Slot(tensor.name, torch.float8_e4m3fn, tensor.shape)
        yield Slot(tensor.scale_name, torch.float32, tensor.shape[:1])
    else:
        yield Slot(tensor.name, _compute_type(quantization), tensor.shape)


def _parts(
    tensor: CheckpointTensor, values: torch.Tensor, quantization: Quantization
) -> Iterator[tuple[str, torch.Tensor]]:
    if _quantized(tensor, quantization):
        linear = quantize_per_channel(values)
        yield tensor.name, linear.weight
        yield tensor.scale_name, linear.per_channel_scale
    else:
        yield tensor.name, values.to(_compute_type(quantization))


def _compute_type(quantization: Quantization) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, quantization.compute_type.value)
    return dtype
