"""A bundle's tokenizer folder: tokenizer.json, its config, generation config and chat template."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as RustTokenizer

from nacelle_engine.errors import CorruptBundle
from nacelle_runtime.frontends.chat_template import ChatTemplate


@dataclass(frozen=True)
class Defaults:
    """What the model's own generation config asks for where a request says nothing."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0


class Tokenizer:
    """Text to ids, ids to text, messages to text; safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        path = folder / "tokenizer.json"
        try:
            self._rust = RustTokenizer.from_file(str(path))
        except Exception as error:  # the library raises Exception itself
            raise CorruptBundle(f"{path}: {error}") from error
        # A folder's own truncation or padding must not cut a prompt.
        self._rust.no_truncation()
        self._rust.no_padding()
        config = _read_json(folder / "tokenizer_config.json")
        generation = _read_json(folder / "generation_config.json")
        self.chat_template = _chat_template(folder, config)
        # What renders a chat with tools; most models have one template for both.
        self.tool_template = _chat_template(folder, config, "tool_use") or self.chat_template
        self.defaults = _defaults(generation)
        self.longest_token = max((len(token) for token in self._rust.get_vocab()), default=1)

    def encode(self, text: str, *, special: bool) -> list[int]:
        """The ids of a text; `special` adds what the tokenizer puts around a bare text."""
        ids: list[int] = self._rust.encode(text, add_special_tokens=special).ids
        return ids

    def decode(self, ids: list[int]) -> str:
        """The text of ids, special tokens left out."""
        text: str = self._rust.decode(ids, skip_special_tokens=True)
        return text

    def token_text(self, token: int) -> str:
        """The text of one token alone, special ones included."""
        text: str = self._rust.decode([token], skip_special_tokens=False)
        return text

    def word_ids(self, word: str) -> tuple[tuple[int, ...], ...]:
        """The ids of a word as it begins a text, and as it goes on after a space."""
        bare = word.strip() or word
        forms = (self.encode(form, special=False) for form in (bare, f" {bare}"))
        return tuple(dict.fromkeys(tuple(ids) for ids in forms if ids))


def _chat_template(
    folder: Path, config: dict[str, Any], name: str = "default"
) -> ChatTemplate | None:
    """chat_template.jinja, or the one in tokenizer_config.json, which may hold several by name."""
    file = folder / "chat_template.jinja"
    source = file.read_text() if file.is_file() else config.get("chat_template")
    if isinstance(source, list):
        source = next((t["template"] for t in source if t.get("name") == name), None)
    elif name != "default":
        source = None
    if source is None:
        return None
    names = ("bos_token", "eos_token", "unk_token", "pad_token")
    return ChatTemplate(source, {name: _token_text(config.get(name)) for name in names})


def _defaults(generation: dict[str, Any]) -> Defaults:
    if not generation.get("do_sample"):
        return Defaults()
    return Defaults(
        temperature=float(generation.get("temperature") or 1.0),
        top_p=float(generation.get("top_p") or 1.0),
        top_k=int(generation.get("top_k") or 0),
        min_p=float(generation.get("min_p") or 0.0),
        repetition_penalty=float(generation.get("repetition_penalty") or 1.0),
    )


def _token_text(token: Any) -> str:
    """A special token is written as its text, or as an object with its content."""
    if isinstance(token, dict):
        return str(token.get("content", ""))
    return str(token or "")


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text())
    except ValueError as error:
        raise CorruptBundle(f"{path}: {error}") from error
    if not isinstance(value, dict):
        raise CorruptBundle(f"{path}: an object is expected")
    return value
