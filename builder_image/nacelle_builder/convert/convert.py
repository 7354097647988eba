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

from nacelle_builder.calibrate.scales import NO_SCALES, Scales
from nacelle_builder.convert.checkpoint import CONFIG, RANK0
from nacelle_builder.convert.config import checkpoint_config
from nacelle_builder.convert.gather import gather, rows_of
from nacelle_builder.convert.kv_cache import kv_parts, kv_slots
from nacelle_builder.convert.linear import linear_parts, linear_slots, quantized
from nacelle_builder.convert.writer import Slot, TensorWriter
from nacelle_builder.durable import write_durably
from nacelle_builder.report import Report
from nacelle_builder.source.files import CheckpointFiles, read_json
from nacelle_builder.source.formats.read import read_stored
from nacelle_builder.source.formats.tensorrt_llm import is_tensorrt_llm, kv_scales_of
from nacelle_builder.source.kv_scales import KvNames, kv_scale_names
from nacelle_builder.source.model_config import model_config
from nacelle_builder.source.stored import Stored, check_asked
from nacelle_builder.source.tensors import TensorIndex, index_tensors
from nacelle_builder.source.weights import SourceWeights, open_weights, require_linear
from nacelle_engine.errors import InvalidModel, TensorUnexpected
from nacelle_engine.model.checkpoint import CheckpointTensor, checkpoint_tensors
from nacelle_engine.model.families import family_of
from nacelle_engine.model.family import read_spec, source_names
from nacelle_engine.model.scales import KV_CACHE
from nacelle_engine.model.source import Source
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.precision import Quantization, QuantizationAlgorithm

# Buffers that old checkpoints carry and that the config alone decides; TensorRT-LLM's one scale of
# an FP8 cache, where there is one for keys and one for values.
_RECOMPUTED = (".rotary_emb.inv_freq", f".attention.{KV_CACHE}")
_LM_HEAD = "lm_head.weight"
_EMBEDDING = "model.embed_tokens.weight"


@dataclass(frozen=True)
class Model:
    """A readable source: its config, its spec, its tensors, and which of them make what.

    sources: where each tensor's numbers lie; names: which of transformers' tensors it becomes. They
    are the same but for a checkpoint that is in our own format already.
    stored: how its linears are quantised already; None for a plain model.
    kv_scales: its tensors with each layer's scales of keys and values, where it has any.
    """

    config: Mapping[str, Any]
    spec: ModelSpec
    index: TensorIndex
    sources: Mapping[str, Source]
    names: Mapping[str, Source]
    stored: Stored | None = None
    kv_scales: tuple[KvNames, ...] = ()


def read_model(files: CheckpointFiles) -> Model:
    """What a checkpoint folder holds; what is not supported is refused by name."""
    config = model_config(files)
    stored = read_stored(files, config)
    try:
        spec = read_spec(config)
    except (TypeError, ValueError) as error:
        raise InvalidModel(f"{files.config}: {error}") from error
    names = source_names(family_of(config), spec)
    index = index_tensors(files.weights)
    if is_tensorrt_llm(read_json(files.config)):
        same = {name: Source((name,)) for name in names}
        return Model(config, spec, index, same, names, stored, kv_scales_of(index, spec.num_layers))
    kv_scales = kv_scale_names(index, spec.num_layers) if stored is not None else ()
    return Model(config, spec, index, names, names, stored, kv_scales)


def convert(
    model: Model,
    quantization: Quantization,
    out: Path,
    report: Report,
    scales: Scales = NO_SCALES,
) -> None:
    """Write the checkpoint folder `out`; `scales`: the static ones that the recipe asks for."""
    if model.stored is not None:
        check_asked(model.stored, quantization)
    tensors = checkpoint_tensors(model.spec)
    check_names(model, tensors)
    out.mkdir(parents=True, exist_ok=True)
    layers = model.spec.num_layers
    slots = [slot for tensor in tensors for slot in _slots(tensor, quantization)]
    slots += kv_slots(layers, quantization)
    with (
        open_weights(model.index, model.stored) as source,
        TensorWriter(out / RANK0, slots) as writer,
    ):
        _check_tied_head(model, source)
        for number, tensor in enumerate(tensors):
            for name, part in _parts(tensor, model, source, quantization, scales):
                writer.write(name, part)
            report(100 * (number + 1) // len(tensors), f"{tensor.name}{_how(model.stored)}")
        for name, part in kv_parts(layers, quantization, scales):
            writer.write(name, part)
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
            left -= set(_required(model, tensor, name, shape))
    left -= {name for names in model.kv_scales for name in names}
    if model.spec.tied_embeddings:
        left.discard(_LM_HEAD)
    if left:
        first = min(left)
        raise TensorUnexpected(
            f"{model.index.entries[first].file}: tensor {first} and {len(left) - 1} more are "
            f"left over: {model.spec.family} has no place for them"
        )


def _required(
    model: Model, tensor: CheckpointTensor, name: str, shape: tuple[int, ...]
) -> tuple[str, ...]:
    """The names of a source tensor and of its scales, once they are there and of their shapes."""
    if model.stored is not None and tensor.linear:
        return require_linear(model.index, model.stored, name, shape, tensor.fields)
    model.index.require(name, shape, fields=tensor.fields)
    return (name,)


def _how(stored: Stored | None) -> str:
    """What is done to a ready-made checkpoint's weights."""
    if stored is None:
        return ""
    if stored.algorithm == QuantizationAlgorithm.FP8:
        return f": {stored} is taken as it is; qkv, and gate with up, get their largest scale"
    if stored.taken_as_is:
        return f": {stored} is taken as it is"
    return f": {stored} is dequantised and quantised anew per output channel"


def _check_tied_head(model: Model, reader: SourceWeights) -> None:
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
        yield from linear_slots(tensor, quantization.algorithm)
    else:
        yield Slot(tensor.name, _compute_type(quantization), tensor.shape)


def _parts(
    tensor: CheckpointTensor,
    model: Model,
    source: SourceWeights,
    quantization: Quantization,
    scales: Scales,
) -> Iterator[tuple[str, torch.Tensor]]:
    if _quantized(tensor, quantization):
        algorithm = quantization.algorithm
        linear = quantized(tensor.name, model.sources, source, model.stored, algorithm)
        yield from linear_parts(tensor, linear, algorithm, scales)
    else:
        made = gather(model.sources[tensor.name], source.read)
        yield tensor.name, made.to(_compute_type(quantization))


def _compute_type(quantization: Quantization) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, quantization.compute_type.value)
    return dtype
