"""From a request of OpenAI's API to what the core is asked for, within the engine's limits."""

import asyncio
import secrets
from dataclasses import dataclass, replace

from nacelle_runtime.client import Generation
from nacelle_runtime.frontends.chat_template import TemplateRefused
from nacelle_runtime.frontends.openai.errors import ApiError
from nacelle_runtime.frontends.openai.formats import check_beside_grammar, constrained
from nacelle_runtime.frontends.openai.messages import plain
from nacelle_runtime.frontends.openai.schema import ChatRequest, CompletionRequest
from nacelle_runtime.frontends.openai.tool_grammar import calling, choosing
from nacelle_runtime.frontends.representable import representable
from nacelle_runtime.frontends.tokenizer import Tokenizer
from nacelle_runtime.frontends.tool_forms.table import form_of
from nacelle_runtime.request import Ending, Sampling
from nacelle_runtime.wire import Ready

# OpenAI's default for completions; a chat's answer goes as far as there is room.
_COMPLETION_TOKENS = 16
# Longer texts are tokenised beside the event loop.
_LONG_TEXT = 8192


@dataclass(frozen=True)
class Model:
    """The model as a frontend knows it."""

    name: str
    eos_ids: tuple[int, ...]
    tokenizer: Tokenizer


async def chat_generation(request: ChatRequest, model: Model, core: Ready) -> Generation:
    """What a chat asks the core for."""
    offer = request.offer
    tokenizer = model.tokenizer
    template = tokenizer.chat_template if offer is None else tokenizer.tool_template
    if template is None:
        raise ApiError(400, f"model {model.name} has no chat template", param="messages")
    if offer is not None and not offer.forced and not template.takes_tools:
        raise ApiError(
            400,
            f"tool_choice: the chat template of {model.name} takes no tools, so the model cannot "
            "choose: say required, or name a function (and describe it in a message)",
            param="tool_choice",
        )
    try:
        text = template.render(plain(request.messages), offer.tools if offer else ())
    except TemplateRefused as error:
        raise ApiError(400, str(error), param="messages") from error
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise ApiError(
            400, "max_tokens and max_completion_tokens say the same: give one", param="max_tokens"
        )
    ids = await _encode(text, model, core, special=False, param="messages")
    wanted = request.max_completion_tokens or request.max_tokens
    generation = _generation(request, ids, wanted, model, core)
    if offer is not None and offer.forced:
        check_beside_grammar(request)
        # The calls come back with the next request: the template must take them.
        several = offer.several and template.takes_several_calls
        return await calling(generation, replace(offer, several=several))
    if offer is not None and offer.strict:
        check_beside_grammar(request)
        return await choosing(generation, offer, form_of(template), model.name)
    return await constrained(generation, request)


async def completion_generation(
    request: CompletionRequest, model: Model, core: Ready
) -> Generation:
    """What a completion asks the core for."""
    prompt = request.prompt
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, str):
        ids = await _encode(prompt, model, core, special=True, param="prompt")
    elif all(isinstance(i, int) and not isinstance(i, bool) for i in prompt):
        ids = prompt
    else:
        raise ApiError(
            400,
            "prompt must be one text or one list of token ids; send others on their own",
            param="prompt",
        )
    _check_ids(ids, core)
    room = core.sequence_len - len(ids)
    wanted = request.max_tokens or min(_COMPLETION_TOKENS, room)
    return await constrained(_generation(request, ids, wanted, model, core), request)


def _generation(
    request: ChatRequest | CompletionRequest,
    ids: list[int],
    wanted: int | None,
    model: Model,
    core: Ready,
) -> Generation:
    """The core's request, once its sizes fit the engine."""
    _check_length(
        len(ids), core, "prompt" if isinstance(request, CompletionRequest) else "messages"
    )
    room = core.sequence_len - len(ids)
    if wanted is not None and wanted > room:
        raise ApiError(
            400,
            f"max_tokens {wanted} and the prompt's {len(ids)} tokens are more than the engine's "
            f"{core.sequence_len} for a sequence: ask for at most {room}",
            param="max_tokens",
            code="context_length_exceeded",
        )
    tokens = room if wanted is None else wanted
    if (request.min_tokens or 0) > tokens:
        raise ApiError(400, f"min_tokens is above the {tokens} of max_tokens", param="min_tokens")
    eos = () if request.ignore_eos else model.eos_ids
    stop_ids = tuple({*eos, *(request.stop_token_ids or ())})
    if any(i >= core.vocabulary for i in stop_ids):
        raise ApiError(400, f"token ids end at {core.vocabulary - 1}", param="stop_token_ids")
    if any(i < 0 or i >= core.vocabulary for i in request.logit_bias or ()):
        raise ApiError(400, f"token ids end at {core.vocabulary - 1}", param="logit_bias")
    return Generation(
        prompt=ids,
        sampling=representable(_sampling(request, model)),
        ending=Ending(tokens, frozenset(stop_ids), request.min_tokens or 0),
        priority=request.priority or 0,
        prompt_logprobs=request.prompt_logprobs,
    )


def _sampling(request: ChatRequest | CompletionRequest, model: Model) -> Sampling:
    """The request's sampling, the model's defaults where it says nothing, a seed of our own."""
    tokenizer, defaults = model.tokenizer, model.tokenizer.defaults
    top_k = defaults.top_k if request.top_k is None else request.top_k
    return Sampling(
        temperature=_or(request.temperature, defaults.temperature),
        top_p=_or(request.top_p, defaults.top_p),
        top_k=max(top_k, 0),
        min_p=_or(request.min_p, defaults.min_p),
        seed=secrets.randbits(63) if request.seed is None else request.seed,
        repetition_penalty=_or(request.repetition_penalty, defaults.repetition_penalty),
        presence_penalty=request.presence_penalty or 0.0,
        frequency_penalty=request.frequency_penalty or 0.0,
        logit_bias=request.logit_bias or {},
        bad_words=tuple(ids for w in request.bad_words or () for ids in tokenizer.word_ids(w)),
        logprobs=request.told,
    )


async def _encode(text: str, model: Model, core: Ready, *, special: bool, param: str) -> list[int]:
    # So long a text cannot fit; it is refused before the work of tokenising it.
    least = len(text) // model.tokenizer.longest_token
    if least > core.input_len:
        raise _too_long(f"at least {least}", core, param)
    if len(text) < _LONG_TEXT:
        return model.tokenizer.encode(text, special=special)
    return await asyncio.to_thread(model.tokenizer.encode, text, special=special)


def _check_ids(ids: list[int], core: Ready) -> None:
    if ids and not (min(ids) >= 0 and max(ids) < core.vocabulary):
        raise ApiError(
            400, f"prompt: token ids must lie in 0 to {core.vocabulary - 1}", param="prompt"
        )


def _check_length(tokens: int, core: Ready, param: str) -> None:
    if tokens == 0:
        raise ApiError(400, f"{param} is empty", param=param)
    if tokens > core.input_len:
        raise _too_long(str(tokens), core, param)


def _too_long(tokens: str, core: Ready, param: str) -> ApiError:
    return ApiError(
        400,
        f"the prompt has {tokens} tokens; the engine's limit is {core.input_len}",
        param=param,
        code="context_length_exceeded",
    )


def _or(given: float | None, default: float) -> float:
    return default if given is None else given
