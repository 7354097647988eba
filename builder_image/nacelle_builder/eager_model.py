"""transformers' own model of a folder, loaded without its progress bars; FP8 ones dequantised."""

from pathlib import Path
from typing import Any

import torch

from nacelle_builder.convert.convert import Model, read_model
from nacelle_builder.convert.gather import rows_of, scatter
from nacelle_builder.source.files import CheckpointFiles, find_checkpoint, read_json
from nacelle_builder.source.formats.read import read_stored
from nacelle_builder.source.formats.tensorrt_llm import is_tensorrt_llm
from nacelle_builder.source.stored import Stored
from nacelle_builder.source.tensors import index_tensors
from nacelle_builder.source.weights import open_weights
from nacelle_engine.errors import TensorMissing
from nacelle_engine.model.checkpoint import checkpoint_tensors


def load_eager(folder: Path, dtype: torch.dtype) -> Any:
    """The causal language model of a checkpoint's folder, from its files alone."""
    files = find_checkpoint(folder)
    own = read_json(files.config)
    if is_tensorrt_llm(own):
        return _of_tensorrt_llm(read_model(files), dtype)
    stored = read_stored(files, own)
    config = _config(folder)
    if stored is None:
        return load_pretrained(folder, dtype, **_attention(config))
    return _dequantised(files, stored, config, dtype)


def load_pretrained(folder: Path, dtype: torch.dtype, **options: Any) -> Any:
    """The causal language model that transformers itself reads from a folder."""
    # Imported here: seconds that most commands should not pay.
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    quiet: Any = logging
    quiet.disable_progress_bar()
    loader: Any = AutoModelForCausalLM
    return loader.from_pretrained(folder, dtype=dtype, local_files_only=True, **options)


def _config(folder: Path) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder, local_files_only=True)


def _attention(config: Any) -> dict[str, str]:
    """Soft-capped scores are eager attention's alone: some versions' others leave the cap out."""
    return {"attn_implementation": "eager"} if getattr(config, "attn_logit_softcapping", 0) else {}


@torch.no_grad()
def _of_tensorrt_llm(source: Model, dtype: torch.dtype) -> Any:
    """transformers' model with the weights of a checkpoint in TensorRT-LLM's format."""
    from transformers import AutoConfig

    # Some families' own default is a token that a smaller vocabulary does not have.
    fields = {"pad_token_id": None, **source.config}
    model = _empty(AutoConfig.for_model(fields.pop("model_type"), **fields), dtype)
    parameters = dict(model.named_parameters())
    with open_weights(source.index, source.stored) as weights:
        for tensor in checkpoint_tensors(source.spec):
            made_of = source.names[tensor.name]
            rows = rows_of(source.spec, tensor, made_of)
            scatter(made_of, rows, weights.read(tensor.name).float(), parameters)
    model.tie_weights()
    return model


def _empty(config: Any, dtype: torch.dtype) -> Any:
    """A model whose weights hold nothing yet."""
    from transformers import AutoModelForCausalLM
    from transformers.initialization import no_init_weights

    loader: Any = AutoModelForCausalLM
    with no_init_weights():
        return loader.from_config(config, dtype=dtype, **_attention(config))


@torch.no_grad()
def _dequantised(files: CheckpointFiles, stored: Stored, config: Any, dtype: torch.dtype) -> Any:
    """The model with what its FP8 weights stand for; one weight is read at a time."""
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = _empty(config, dtype)
    index = index_tensors(files.weights)
    with open_weights(index, stored) as source:
        for name, parameter in model.named_parameters():
            if name not in index.entries:
                raise TensorMissing(f"tensor {name} is in no safetensors file")
            parameter.copy_(source.read(name))
    return model
