"""Small checkpoints for tests: a sound Llama of random weights, and the same one spoiled."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from nacelle_builder.fetch.sums import write_sums

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def sound(folder: Path, tokenizer: Path, *, seed: int = 0) -> Path:
    """Two layers of 64, with the vocabulary of the tokenizer in another checkpoint's folder.

    Random weights of the usual scale leave near ties everywhere; a larger lm_head spreads the
    logits, so that equal tokens mean equal arithmetic.
    """
    vocabulary = json.loads((tokenizer / "config.json").read_text())
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary["vocab_size"],
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        bos_token_id=vocabulary["bos_token_id"],
        eos_token_id=vocabulary["eos_token_id"],
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight.normal_(0.0, 1.0)
    model.to(torch.bfloat16).save_pretrained(folder)
    for name in TOKENIZER_FILES:
        shutil.copyfile(tokenizer / name, folder / name)
    write_sums(folder, f"test:sound-{seed}")
    return folder


def _without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _truncated(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def _of_another_family(folder: Path) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text())
    config |= {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}
    file.write_text(json.dumps(config))


def _tensor_missing(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _tensor_left_over(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.extra_proj.weight"] = torch.zeros(4, 4)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


SPOILED: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "no-config": (_without_config, "InvalidModel", "config.json"),
    "truncated": (_truncated, "TensorInvalid", "model.safetensors"),
    "other-family": (_of_another_family, "UnsupportedModel", "GPT2LMHeadModel"),
    "tensor-missing": (_tensor_missing, "TensorMissing", "model.layers.1.mlp.up_proj.weight"),
    "tensor-left-over": (
        _tensor_left_over,
        "TensorUnexpected",
        "model.layers.1.mlp.extra_proj.weight",
    ),
}
"""Name -> how a sound checkpoint is spoiled, the error's code, and what its message names."""


def spoiled(name: str, folder: Path, source: Path) -> Path:
    """A copy of a sound checkpoint with one thing wrong; its digests list what is there."""
    shutil.copytree(source, folder)
    SPOILED[name][0](folder)
    write_sums(folder, f"test:{name}")
    return folder
