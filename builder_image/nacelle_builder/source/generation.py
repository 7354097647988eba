"""How a model ends and samples: generation_config.json, with every end-of-sequence token."""

from typing import Any

from nacelle_builder.source.files import GENERATION_CONFIG, TOKENIZER, CheckpointFiles, read_json
from nacelle_engine.errors import InvalidModel


def eos_token_ids(files: CheckpointFiles) -> tuple[int, ...]:
    """Every end-of-sequence id that config, generation config and tokenizer name, sorted."""
    ids = _ids(read_json(files.config).get("eos_token_id"))
    generation = files.root / GENERATION_CONFIG
    if generation.is_file():
        ids |= _ids(read_json(generation).get("eos_token_id"))
    ids |= _tokenizer_eos(files)
    if not ids:
        raise InvalidModel(
            f"{files.root}: neither config.json nor {GENERATION_CONFIG} nor the tokenizer names "
            "an end-of-sequence token (eos_token_id), so no answer would end"
        )
    return tuple(sorted(ids))


def generation_config(files: CheckpointFiles) -> dict[str, Any]:
    """The model's generation config, whose eos_token_id lists all of them."""
    path = files.root / GENERATION_CONFIG
    config = read_json(path) if path.is_file() else {}
    return {**config, "eos_token_id": list(eos_token_ids(files))}


def _tokenizer_eos(files: CheckpointFiles) -> set[int]:
    path = files.root / "tokenizer_config.json"
    token = read_json(path).get("eos_token") if path.is_file() else None
    content = token.get("content") if isinstance(token, dict) else token
    if content is None:
        return set()
    added = read_json(files.root / TOKENIZER).get("added_tokens") or []
    return {int(item["id"]) for item in added if item.get("content") == content}


def _ids(value: Any) -> set[int]:
    if value is None:
        return set()
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(item, int) and item >= 0 for item in values):
        raise InvalidModel(f"eos_token_id {value!r} is neither a token id nor a list of them")
    return set(values)
