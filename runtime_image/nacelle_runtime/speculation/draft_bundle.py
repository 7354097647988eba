"""Whether a bundle can draft for another: the same tokens, and room for the same requests."""

from collections.abc import Callable

from nacelle_engine.bundle import Bundle
from nacelle_engine.errors import InvalidRequest
from nacelle_engine.manifest import Manifest

_TOKENIZER = "tokenizer/tokenizer.json"


def check_draft(target: Bundle, draft: Bundle, requests: int) -> None:
    """Raise InvalidRequest that says why the second cannot draft for the first.

    requests: how many run at once.
    """
    one, other = target.manifest, draft.manifest
    for check in _CHECKS:
        message = check(one, other, requests)
        if message is not None:
            raise InvalidRequest(f"--draft-engine {draft.root}: {message}")


def _vocabulary(target: Manifest, draft: Manifest, _requests: int) -> str | None:
    if target.vocab_size != draft.vocab_size:
        return (
            f"its vocabulary has {draft.vocab_size} tokens, the engine's {target.vocab_size}; "
            "build one of a model with the same tokenizer"
        )
    return None


def _tokenizer(target: Manifest, draft: Manifest, _requests: int) -> str | None:
    if _digest(target) != _digest(draft):
        return "its tokenizer is another one; build one of a model with the same tokenizer"
    return None


def _digest(manifest: Manifest) -> str | None:
    return next((file.sha256 for file in manifest.files if file.path == _TOKENIZER), None)


def _block_size(target: Manifest, draft: Manifest, _requests: int) -> str | None:
    if target.tokens_per_block != draft.tokens_per_block:
        return f"its blocks hold {draft.tokens_per_block} tokens, not {target.tokens_per_block}"
    return None


def _sequences(target: Manifest, draft: Manifest, _requests: int) -> str | None:
    if draft.limits.max_seq_len < target.limits.max_seq_len:
        return (
            f"it was built for sequences of {draft.limits.max_seq_len} tokens, the engine for "
            f"{target.limits.max_seq_len}; build it with the engine's maxSeqLen"
        )
    return None


def _requests(_target: Manifest, draft: Manifest, requests: int) -> str | None:
    most = min(draft.limits.max_batch_size, draft.limits.max_num_tokens)
    if most < requests:
        return f"it was built for {most} requests a step, not {requests}; lower --max-batch-size"
    return None


_CHECKS: tuple[Callable[[Manifest, Manifest, int], str | None], ...] = (
    _vocabulary,
    _tokenizer,
    _block_size,
    _sequences,
    _requests,
)
