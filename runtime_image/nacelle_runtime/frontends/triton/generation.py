"""From a request of Triton to what the core is asked for; the core checks the engine's limits."""

import secrets

from nacelle_runtime.client import Generation
from nacelle_runtime.frontends.representable import representable
from nacelle_runtime.frontends.tokenizer import Tokenizer
from nacelle_runtime.frontends.triton.errors import Code, NotAnswered
from nacelle_runtime.frontends.triton.request import TextRequest, TokenRequest, one_of
from nacelle_runtime.request import Ending, Sampling
from nacelle_runtime.wire import Ready

Words = tuple[tuple[int, ...], ...]


def text_generation(
    request: TextRequest, tokenizer: Tokenizer, core: Ready, end_ids: tuple[int, ...]
) -> Generation:
    """What a text asks the core for."""
    # So long a text cannot fit; it is refused before the work of tokenising it.
    least = len(request.text_input) // tokenizer.longest_token
    if least > core.input_len:
        raise NotAnswered(
            Code.INVALID_ARG,
            f"text_input has at least {least} tokens; the limit is {core.input_len}",
        )
    bias: dict[int, float] = {}
    for word, weight in request.biases:
        for token in tokenizer.encode(word, special=False):
            bias[token] = bias.get(token, 0.0) + weight
    bad = tuple(ids for word in request.banned for ids in tokenizer.word_ids(word))
    prompt = tokenizer.encode(request.text_input, special=True)
    return _generation(request, prompt, bias, bad, end_ids)


def token_generation(request: TokenRequest, end_ids: tuple[int, ...]) -> Generation:
    """What token ids ask the core for."""
    bias = {token: value for token, value in enumerate(request.embedding_bias) if value}
    return _generation(request, request.prompt, bias, request.banned, end_ids)


def _generation(
    request: TextRequest | TokenRequest,
    prompt: list[int],
    bias: dict[int, float],
    bad_words: Words,
    end_ids: tuple[int, ...],
) -> Generation:
    least = one_of(("min_tokens", request.min_tokens), ("min_length", request.min_length))
    if (least or 0) > request.max_tokens:
        raise NotAnswered(
            Code.INVALID_ARG, f"min_tokens is above the {request.max_tokens} tokens asked for"
        )
    ends = end_ids if request.end_id == -1 else (request.end_id,)
    return Generation(
        prompt=prompt,
        sampling=representable(_sampling(request, bias, bad_words)),
        ending=Ending(request.max_tokens, frozenset(ends), least or 0),
        priority=request.priority,
    )


def _sampling(
    request: TextRequest | TokenRequest, bias: dict[int, float], bad_words: Words
) -> Sampling:
    """TensorRT-LLM's rules: top_k 1, or nothing said, is greedy; top_p 0 says nothing."""
    seed = one_of(("seed", request.seed), ("random_seed", request.random_seed))
    said = request.top_k or request.top_p or request.temperature is not None
    greedy = not said or request.top_k == 1
    temperature = 1.0 if request.temperature is None else request.temperature
    return Sampling(
        temperature=0.0 if greedy else temperature,
        top_k=request.top_k,
        top_p=request.top_p or 1.0,
        min_p=request.min_p,
        seed=secrets.randbits(63) if seed is None else _signed(seed),
        repetition_penalty=request.repetition_penalty,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        logit_bias=bias,
        bad_words=bad_words,
        logprobs=0 if request.return_log_probs else None,
    )


def _signed(seed: int) -> int:
    """64 bits as the core has them: the upper half of UINT64 wraps to the negative numbers."""
    return seed - (1 << 64) if seed >= 1 << 63 else seed
