"""A checkpoint of random weights in a published model's shape: speed needs no others.

Linears are normal with a deviation of 1 / sqrt(inputs), so that activations keep the size that they
have in trained models and quantisation has real work; norms are 1. The tokenizer knows bytes alone.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from nacelle_bench.model_shapes import SHAPES
from nacelle_bench.table import Table
from nacelle_engine.errors import InvalidRequest

_SPECIAL = ("<|begin|>", "<|end|>")


def write_model(shape: str, folder: Path, layers: int | None, seed: int) -> Table:
    """Write the checkpoint; a folder that is there already is refused.

    layers: fewer or more than the shape has. On a GPU where there is one, a layer at a time.
    """
    config = dict(SHAPES[shape])
    if layers is not None:
        config["num_hidden_layers"] = layers
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise InvalidRequest(f"{folder} is there already: name another folder") from error
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = torch.Generator(device).manual_seed(seed)
    parts = list(_parts(config))
    where: dict[str, str] = {}
    total = 0
    for number, part in enumerate(parts):
        file = f"model-{number + 1:05}-of-{len(parts):05}.safetensors"
        tensors = {name: _drawn(size, generator).cpu() for name, size in part.items()}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        where |= dict.fromkeys(part, file)
        total += sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": where}
    for name, content in (("config.json", config), ("model.safetensors.index.json", index)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")
    _write_tokenizer(folder)
    row = {"shape": shape, "layers": config["num_hidden_layers"], "gb": total / 1e9}
    return Table({"kind": "random model", "folder": str(folder), "seed": seed}, [row], {"gb": 2})


def _parts(config: dict[str, Any]) -> Iterator[dict[str, tuple[int, ...]]]:
    """The tensors' names and shapes, as transformers names them: a file each layer."""
    hidden, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    vocabulary = (config["vocab_size"], hidden)
    yield {"model.embed_tokens.weight": vocabulary}
    for layer in range(config["num_hidden_layers"]):
        sizes: dict[str, tuple[int, ...]] = {
            "input_layernorm": (hidden,),
            "post_attention_layernorm": (hidden,),
            "self_attn.q_proj": (queries, hidden),
            "self_attn.k_proj": (keys, hidden),
            "self_attn.v_proj": (keys, hidden),
            "self_attn.o_proj": (hidden, queries),
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }
        yield {f"model.layers.{layer}.{name}.weight": size for name, size in sizes.items()}
    last: dict[str, tuple[int, ...]] = {"model.norm.weight": (hidden,)}
    if not config["tie_word_embeddings"]:
        last["lm_head.weight"] = vocabulary
    yield last


def _drawn(size: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    if len(size) == 1:
        return torch.ones(size, dtype=torch.bfloat16)
    drawn = torch.empty(size, dtype=torch.bfloat16, device=generator.device)
    return drawn.normal_(0.0, size[-1] ** -0.5, generator=generator)


def _write_tokenizer(folder: Path) -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: number for number, character in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(_SPECIAL))
    tokenizer.save(str(folder / "tokenizer.json"))
    begin, end = _SPECIAL
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": begin,
        "eos_token": end,
        "chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
