"""From a parsed request to its answer: hand it to the core, follow it, cancel it when left."""

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from nacelle_runtime.client import CoreLost, Generation, RequestRefused
from nacelle_runtime.frontends.answer_text import AnswerText, Piece
from nacelle_runtime.frontends.chat_template import ChatTemplate
from nacelle_runtime.frontends.openai.answers import Shape, event
from nacelle_runtime.frontends.openai.choices import Choices
from nacelle_runtime.frontends.openai.errors import ApiError, json_response, refused
from nacelle_runtime.frontends.openai.frontend import Frontend
from nacelle_runtime.frontends.openai.gone import EventStream, unless_gone
from nacelle_runtime.frontends.openai.logprobs import prompt_logprobs
from nacelle_runtime.frontends.openai.schema import ChatRequest, CompletionRequest
from nacelle_runtime.frontends.openai.story import Story, story_of
from nacelle_runtime.frontends.tool_calls import Reader
from nacelle_runtime.frontends.tool_forms.forced import Forced
from nacelle_runtime.frontends.tool_forms.table import form_of

_Pieces = AsyncIterator[tuple[int, Piece]]


async def respond(
    frontend: Frontend,
    request: Request,
    parsed: ChatRequest | CompletionRequest,
    generation: Generation,
) -> Response:
    """The answer, whole or as a stream; the core forgets it as soon as the client has gone."""
    frontend.serving()
    tokenizer = frontend.model.tokenizer
    shape = Shape(
        chat=isinstance(parsed, ChatRequest),
        model=frontend.model.name,
        prompt_tokens=len(generation.prompt),
        told=generation.sampling.logprobs is not None,
        text_of=tokenizer.token_text,
        include_usage=parsed.include_usage,
    )
    story = story_of(request.scope)
    story.prompt_tokens = len(generation.prompt)
    generation = replace(generation, traced=story.traced)
    reading = _reading(parsed, tokenizer.tool_template)

    def text() -> AnswerText:
        return AnswerText(tokenizer.decode, parsed.stops, reading())

    with ExitStack() as stack:
        choices = Choices(frontend.core, generation, parsed.n or 1, text)
        stack.callback(choices.close)
        if story.trace is not None:
            story.trace.asked(parsed, choices.texts, shape.full_id)
        if not parsed.stream:
            whole = _whole(choices, story.follow(choices.pieces()), shape, generation)
            return json_response(await unless_gone(whole, request.receive))
        rest = story.follow(choices.pieces())
        # Nothing is sent before the first piece: until then an error can still be a status.
        first = await unless_gone(_first(rest), request.receive)
        patience = frontend.bounds.read_seconds
        events = _events(story, shape, first, rest)
        return EventStream(events, patience, story.left_by, stack.pop_all().close)
    raise AssertionError("an ExitStack passes errors on")


def _reading(
    parsed: ChatRequest | CompletionRequest, template: ChatTemplate | None
) -> Callable[[], Reader | None]:
    """What gives each answer its reader of calls, where tools are offered."""
    offer = parsed.offer if isinstance(parsed, ChatRequest) else None
    if offer is not None and offer.forced:
        return partial(Forced, named=offer.mode == "named")
    form = form_of(template) if offer is not None and template is not None else None
    if offer is None or form is None:
        return lambda: None
    return partial(form, offer.names, several=offer.several)


async def _whole(
    choices: Choices, pieces: _Pieces, shape: Shape, generation: Generation
) -> dict[str, Any]:
    parts: list[list[Piece]] = [[] for _ in choices.texts]
    async for index, piece in pieces:
        parts[index].append(piece)
    body = shape.whole(parts)
    if generation.prompt_logprobs is not None:
        found = choices.texts[0].prompt_logprobs or []
        told = prompt_logprobs(generation.prompt, found, shape.text_of)
        for choice in body["choices"]:
            choice["prompt_logprobs"] = told
    return body


async def _first(rest: _Pieces) -> tuple[int, Piece]:
    return await anext(rest)


async def _events(
    story: Story, shape: Shape, first: tuple[int, Piece], rest: _Pieces
) -> AsyncIterator[bytes]:
    """The stream's events; when an answer cannot go on, the last one says so."""
    try:
        async for body in shape.events(_chain(first, rest)):
            yield body
    except CoreLost as error:
        yield event(story.ended_by(ApiError(503, str(error), code="core_lost")).body())
    except RequestRefused as error:
        yield event(story.ended_by(refused(error.code, str(error))).body())


async def _chain(first: tuple[int, Piece], rest: _Pieces) -> _Pieces:
    yield first
    async for item in rest:
        yield item
