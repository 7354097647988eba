"""The files of a Hugging Face checkpoint that matter, and where a folder holds them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nacelle_engine.errors import InvalidModel, UnsupportedModel

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
TOKENIZER = "tokenizer.json"
# modelopt's, which says how a ready-made checkpoint is quantised.
HF_QUANT_CONFIG = "hf_quant_config.json"
GENERATION_CONFIG = "generation_config.json"
# What a bundle's tokenizer folder holds, where the checkpoint has it.
TOKENIZER_FILES = (
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    GENERATION_CONFIG,
)
# What is fetched from a hub: the above and the weights.
PATTERNS = (CONFIG, INDEX, HF_QUANT_CONFIG, "*.safetensors", *TOKENIZER_FILES)


@dataclass(frozen=True)
class CheckpointFiles:
    """A checkpoint's folder and the files in it that decide what the model is."""

    root: Path
    weights: tuple[Path, ...]
    tokenizer: tuple[Path, ...]

    @property
    def config(self) -> Path:
        """The model's config.json."""
        return self.root / CONFIG

    def all(self) -> tuple[Path, ...]:
        """Every file that matters, sorted by name."""
        beside = self.root / HF_QUANT_CONFIG
        configs = (self.config, beside) if beside.is_file() else (self.config,)
        return tuple(sorted((*configs, *self.weights, *self.tokenizer)))


def find_checkpoint(root: Path) -> CheckpointFiles:
    """The checkpoint in a folder; InvalidModel names the file that is missing."""
    if not root.is_dir():
        raise InvalidModel(f"{root} is not a folder")
    _refuse_engine(root)
    if not (root / CONFIG).is_file():
        raise InvalidModel(f"{root} has no {CONFIG}: it is not a Hugging Face checkpoint")
    if not (root / TOKENIZER).is_file():
        raise InvalidModel(
            f"{root} has no {TOKENIZER}: save the tokenizer in the fast format "
            "(AutoTokenizer.from_pretrained(...).save_pretrained(...))"
        )
    tokenizer = tuple(root / name for name in TOKENIZER_FILES if (root / name).is_file())
    return CheckpointFiles(root, _weights(root), tokenizer)


def _refuse_engine(root: Path) -> None:
    """An engine of TensorRT-LLM has weights that only its own kernels read."""
    engines = sorted(path.name for path in root.glob("*.engine"))
    config = read_json(root / CONFIG) if (root / CONFIG).is_file() else {}
    if engines or {"pretrained_config", "build_config"} <= config.keys():
        raise UnsupportedModel(
            f"{root} holds an engine that TensorRT-LLM compiled "
            f"({', '.join(engines) or CONFIG}): its weights cannot be read back; give the "
            "checkpoint that it was built from (config.json and rank0.safetensors)"
        )


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of the model; InvalidModel names the file and the place."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidModel(f"{path} cannot be read: {error}") from error
    except json.JSONDecodeError as error:
        raise InvalidModel(
            f"{path} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        ) from error
    except (ValueError, RecursionError) as error:  # a number, or a nesting, beyond Python's limits
        raise InvalidModel(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise InvalidModel(f"{path} holds no JSON object")
    return value


def _weights(root: Path) -> tuple[Path, ...]:
    if (root / INDEX).is_file():
        names = _named(root / INDEX)
        for name in names:
            if "/" in name or not (root / name).is_file():
                raise InvalidModel(f"{root / INDEX} names {name}, which is not in the folder")
    else:
        names = sorted(path.name for path in root.glob("*.safetensors") if path.is_file())
    if not names:
        raise InvalidModel(f"{root} has no .safetensors file: other weight formats are not read")
    return tuple(root / name for name in names)


def _named(index: Path) -> list[str]:
    """The files that a sharded checkpoint's index names."""
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise InvalidModel(f"{index}: weight_map is no object of tensors and their files")
    return sorted(set(shards.values()))
