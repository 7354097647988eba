"""What makes a request impossible, as an ordered list of checks."""

from collections.abc import Callable

from nacelle_runtime.request import COLDEST, NARROWEST, Refusal, RefusalCode, Request
from nacelle_runtime.scheduler.bounds import Bounds

# They go to the frontend in one message of about 14 bytes a value, and a connection that leaves
# 16 MiB unread is cut.
MOST_PROMPT_LOGPROBS = 500_000
MOST_LOGPROBS = 20


def refusal(request: Request, bounds: Bounds) -> Refusal | None:
    """The first rule that a request breaks; None when it can be run."""
    for check in _CHECKS:
        message = check(request, bounds)
        if message is not None:
            return Refusal(RefusalCode.INVALID, message)
    return None


def _prompt(request: Request, bounds: Bounds) -> str | None:
    prompt = request.prompt
    if not prompt:
        return "the prompt is empty"
    if min(prompt) < 0 or max(prompt) >= bounds.vocabulary:
        return f"token ids must lie in 0 to {bounds.vocabulary - 1}"
    if len(prompt) > bounds.input_len:
        return f"the prompt has {len(prompt)} tokens; the limit is {bounds.input_len}"
    return None


def _length(request: Request, bounds: Bounds) -> str | None:
    prompt, most = len(request.prompt), request.ending.max_tokens
    if most < 1 or prompt + most > bounds.sequence_len:
        return (
            f"{prompt} prompt tokens and {most} to come; "
            f"a sequence has at most {bounds.sequence_len}"
        )
    return None


def _ranges(request: Request, bounds: Bounds) -> str | None:
    """Ranges in which float32 arithmetic neither overflows nor loses what was asked for."""
    sampling = request.sampling
    wrong = {
        "temperature": not (sampling.temperature == 0 or COLDEST <= sampling.temperature <= 1e30),
        "top_k": sampling.top_k < 0,
        "top_p": not NARROWEST <= sampling.top_p <= 1,
        "min_p": not 0 <= sampling.min_p <= 1,
        "repetition_penalty": not 0.01 <= sampling.repetition_penalty <= 100,
        "presence_penalty": not abs(sampling.presence_penalty) <= 100,
        "frequency_penalty": not abs(sampling.frequency_penalty) <= 100,
        "logit_bias": not all(abs(bias) <= 1e6 for bias in sampling.logit_bias.values()),
        "logprobs": not 0 <= (sampling.logprobs or 0) <= MOST_LOGPROBS,
        "prompt_logprobs": not 0 <= (request.prompt_logprobs or 0) <= MOST_LOGPROBS,
    }
    return next((f"{name} is out of range" for name, found in wrong.items() if found), None)


def _ids(request: Request, bounds: Bounds) -> str | None:
    sampling = request.sampling
    used = {
        "stop_token_ids": request.ending.stop_ids,
        "logit_bias": sampling.logit_bias.keys(),
        "bad_words": [token for word in sampling.bad_words for token in word],
    }
    for name, ids in used.items():
        if ids and not (min(ids) >= 0 and max(ids) < bounds.vocabulary):
            return f"{name}: token ids must lie in 0 to {bounds.vocabulary - 1}"
    if not all(sampling.bad_words):
        return "bad_words: a word has no tokens"
    return None


def _something_left(request: Request, bounds: Bounds) -> str | None:
    ends = {word[-1] for word in request.sampling.bad_words} | request.ending.stop_ids
    if len(ends) >= bounds.vocabulary:
        return "bad_words and stop_token_ids leave no token to draw"
    return None


def _grammar(request: Request, bounds: Bounds) -> str | None:
    if request.matcher is None:
        return None
    if request.ending.min_tokens:
        return "min_tokens: an answer with a grammar ends where the grammar does"
    if request.sampling.bad_words:
        return "bad_words: an answer with a grammar may have no other way on"
    return None


def _prompt_logprobs(request: Request, bounds: Bounds) -> str | None:
    if request.prompt_logprobs is None:
        return None
    values = len(request.prompt) * (request.prompt_logprobs + 1)
    if values > MOST_PROMPT_LOGPROBS:
        return f"prompt_logprobs gives {values} values; the limit is {MOST_PROMPT_LOGPROBS}"
    return None


_CHECKS: tuple[Callable[[Request, Bounds], str | None], ...] = (
    _prompt,
    _length,
    _ranges,
    _ids,
    _something_left,
    _prompt_logprobs,
    _grammar,
)
