"""transformers' own model of a folder, loaded without its progress bars; FP8 ones dequantised."""

from pathlib import Path
from typing import Any

import torch

from nacelle_builder.source.files import CheckpointFiles, find_checkpoint, read_json
from nacelle_builder.source.formats.read import read_stored
from nacelle_builder.source.stored import Stored
from nacelle_builder.source.tensors import index_tensors
from nacelle_builder.source.weights import open_weights
from nacelle_engine.errors import TensorMissing


def load_eager(folder: Path, dtype: torch.dtype) -> Any:
    """The causal language model of a checkpoint's folder, from its files alone."""
    files = find_checkpoint(folder)
    stored = read_stored(files, read_json(files.config))
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
def _dequantised(files: CheckpointFiles, stored: Stored, config: Any, dtype: torch.dtype) -> Any:
    """The model with what its FP8 weights stand for; one weight is read at a time."""
    from transformers import AutoModelForCausalLM
    from transformers.initialization import no_init_weights

    if hasattr(config, "quantization_config"):
        del config.quantization_config
    loader: Any = AutoModelForCausalLM
    with no_init_weights():
        model = loader.from_config(config, dtype=dtype, **_attention(config))
    index = index_tensors(files.weights)
    with open_weights(index, stored) as source:
        for name, parameter in model.named_parameters():
            if name not in index.entries:
                raise TensorMissing(f"tensor {name} is in no safetensors file")
            parameter.copy_(source.read(name))
    return model
