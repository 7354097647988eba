"""Log-probabilities in the forms of OpenAI's two endpoints, and of a prompt."""

from collections.abc import Callable, Sequence
from typing import Any

from nacelle_runtime.request import Logprob

TextOf = Callable[[int], str]
Told = Sequence[tuple[int, Logprob]]
# What stands for bytes that are no character of their own.
_NO_CHARACTER = "\ufffd"


def chat_logprobs(told: Told, text_of: TextOf) -> dict[str, Any]:
    """A chat's: one entry a token, with its likeliest rivals."""
    content = [
        {
            **_entry(token, found.value, text_of),
            "top_logprobs": [
                _entry(other, value, text_of)
                for other, value in zip(found.ids, found.values, strict=True)
            ],
        }
        for token, found in told
    ]
    return {"content": content, "refusal": None}


def completion_logprobs(told: Told, text_of: TextOf, offset: int) -> dict[str, Any]:
    """A completion's: four lists; `offset` is where the first token begins in the answer's text."""
    tokens = [text_of(token) for token, _ in told]
    offsets = []
    for text in tokens:
        offsets.append(offset)
        offset += len(text)
    return {
        "tokens": tokens,
        "token_logprobs": [found.value for _, found in told],
        "top_logprobs": [
            {text_of(i): value for i, value in zip(found.ids, found.values, strict=True)}
            for _, found in told
        ],
        "text_offset": offsets,
    }


def prompt_logprobs(
    prompt: Sequence[int], found: Sequence[Logprob], text_of: TextOf
) -> list[dict[str, Any] | None]:
    """A prompt's, in vLLM's form: nothing for its first token, then token and rivals by id."""
    entries: list[dict[str, Any] | None] = [None]
    for token, one in zip(prompt[1:], found, strict=True):
        ranked = {
            other: (value, rank)
            for rank, (other, value) in enumerate(zip(one.ids, one.values, strict=True), 1)
        }
        ranked[token] = (one.value, one.rank)
        entries.append(
            {
                str(i): {"logprob": value, "rank": rank, "decoded_token": text_of(i)}
                for i, (value, rank) in ranked.items()
            }
        )
    return entries


def _entry(token: int, value: float, text_of: TextOf) -> dict[str, Any]:
    text = text_of(token)
    known = _NO_CHARACTER not in text
    return {"token": text, "logprob": value, "bytes": list(text.encode()) if known else None}
