"""Tiny random models of every family, made with transformers' own code."""

import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from nacelle_builder.convert.checkpoint import RANK0
from nacelle_builder.convert.convert import Model, convert, read_model
from nacelle_builder.source.files import find_checkpoint
from nacelle_engine.precision import Quantization
from nacelle_engine.program.signature import WEIGHTS

VOCAB = 211
_SIZES: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 96,
    "intermediate_size": 176,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_THREE = {**_SIZES, "num_hidden_layers": 3}
# A head's size is not hidden_size / heads, and the scores' scale is not of the head's size.
_GEMMA = {**_THREE, "head_dim": 32, "query_pre_attn_scalar": 24, "sliding_window": 45}
_CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {**_SIZES, "head_dim": 16}),
    "llama-biased": ("Llama", {**_SIZES, "attention_bias": True, "tie_word_embeddings": True}),
    "mistral": ("Mistral", {**_SIZES, "sliding_window": 45}),
    "mistral-full": ("Mistral", {**_SIZES, "sliding_window": None}),
    "qwen2": ("Qwen2", _SIZES),
    "qwen2-windowed": (
        "Qwen2",
        {**_THREE, "use_sliding_window": True, "sliding_window": 33, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3", {**_SIZES, "head_dim": 32}),
    "qwen3-biased": ("Qwen3", {**_SIZES, "head_dim": 32, "attention_bias": True}),
    "phi3": (
        "Phi3",
        {**_SIZES, "sliding_window": 45, "hidden_size": 192, "partial_rotary_factor": 0.75},
    ),
    # A head's size is no power of two.
    "phi3-mini": (
        "Phi3",
        {**_SIZES, "hidden_size": 192, "num_attention_heads": 2, "sliding_window": None},
    ),
    "gemma2": ("Gemma2", {**_GEMMA, "attn_logit_softcapping": 5.0}),
    "gemma3": (
        "Gemma3",
        {
            **_GEMMA,
            "sliding_window_pattern": 3,
            "rope_theta": 500_000.0,
            "rope_local_base_freq": 1_000.0,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        },
    ),
}
NAMES = tuple(_CASES)


def config_of(name: str) -> dict[str, Any]:
    """What the model's config.json says."""
    family, config = _config(name)
    return {**config.to_dict(), "architectures": [f"{family}ForCausalLM"]}


def _config(name: str) -> tuple[str, Any]:
    family, fields = _CASES[name]
    kind = getattr(transformers, f"{family}{'Text' if family == 'Gemma3' else ''}Config")
    return family, kind(**fields)


def random_model(name: str, seed: int = 0) -> Any:
    """A model whose logits have clear winners (median top-2 margin above 1), and no unit norms."""
    torch.manual_seed(seed)
    family, config = _config(name)
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if path.endswith("bias"):
                parameter.normal_(std=0.5)
            elif parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
            else:
                parameter.normal_(std=1.5 / parameter.shape[1] ** 0.5)
        head: nn.Linear = model.lm_head
        if family.startswith("Gemma"):
            # The head is the embedding too: larger, it would drown what the layers add to it.
            head.weight.mul_(0.5)
            model.model.norm.weight.add_(6)
        else:
            head.weight.mul_(4)
    return model


def save(name: str, folder: Path) -> Path:
    """The model as a folder that `convert` reads; its tokenizer is never opened."""
    random_model(name).save_pretrained(folder)
    (folder / "tokenizer.json").write_text("{}")
    return folder


def converted(name: str, quantization: Quantization, root: Path) -> tuple[Path, Model, Path]:
    """(the model's folder, what was read of it, a rank's folder with the weights of a build)."""
    folder = save(name, root / "model")
    model = read_model(find_checkpoint(folder))
    convert(model, quantization, root / "out", lambda *_: None)
    rank = root / "rank0"
    rank.mkdir()
    shutil.copyfile(root / "out" / RANK0, rank / WEIGHTS)
    return folder, model, rank
