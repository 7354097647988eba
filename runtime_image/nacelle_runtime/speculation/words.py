"""Speculation in words: the ways of drafting, and how a core tells what it does."""

from enum import StrEnum


class Method(StrEnum):
    """Where drafted tokens come from."""

    NONE = "none"
    PROMPT_LOOKUP = "prompt-lookup"
    DRAFT = "draft"


def describe(method: Method, tokens: int, draft: str, synthetic: float | None) -> str:
    """One line; draft: the key of the draft engine."""
    if method is Method.NONE:
        return method.value
    words = f"{method.value}, at most {tokens} tokens"
    if method is Method.DRAFT:
        words += f", by engine {draft[:16]}"
    if synthetic is not None:
        words += f", SYNTHETIC acceptance {synthetic:g}: answers mean nothing"
    return words
