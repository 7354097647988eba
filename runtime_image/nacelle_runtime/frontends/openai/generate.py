"""From a parsed request to its answer: hand it to the core, follow it, cancel it when left."""

import re
from collections.abc import AsyncIterator
from contextlib import ExitStack

from starlette.requests import Request
from starlette.responses import Response

from nacelle_runtime.client import Answer, CoreLost, Generation
from nacelle_runtime.frontends.answer_text import AnswerText, Piece, pieces
from nacelle_runtime.frontends.openai.answers import Shape, event
from nacelle_runtime.frontends.openai.errors import ApiError, json_response
from nacelle_runtime.frontends.openai.frontend import Frontend
from nacelle_runtime.frontends.openai.gone import EventStream, unless_gone
from nacelle_runtime.frontends.openai.schema import ChatRequest, CompletionRequest

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


async def respond(
    frontend: Frontend,
    request: Request,
    parsed: ChatRequest | CompletionRequest,
    generation: Generation,
) -> Response:
    """The answer, whole or as a stream; the core forgets it as soon as the client has gone."""
    frontend.serving()
    shape = Shape(
        chat=isinstance(parsed, ChatRequest),
        model=frontend.model.name,
        prompt_tokens=len(generation.prompt),
        include_usage=parsed.include_usage,
    )
    headers = {"x-request-id": _request_id(request, shape)}
    text = AnswerText(frontend.model.tokenizer.decode, parsed.stops)
    with ExitStack() as stack:
        answer = frontend.core.submit(generation)
        stack.callback(answer.close)
        if not parsed.stream:
            body = await unless_gone(_whole(answer, text, shape), request.receive)
            return json_response(body, headers=headers)
        rest = pieces(answer, text)
        # Nothing is sent before the first piece: until then an error can still be a status.
        first = await unless_gone(_first(rest), request.receive)
        return EventStream(_events(shape, first, rest), headers, stack.pop_all().close)
    raise AssertionError("an ExitStack passes errors on")


async def _whole(answer: Answer, text: AnswerText, shape: Shape) -> object:
    parts = [piece async for piece in pieces(answer, text)]
    return shape.whole("".join(piece.text for piece in parts), parts[-1])


async def _first(rest: AsyncIterator[Piece]) -> Piece:
    return await anext(rest)


async def _events(shape: Shape, first: Piece, rest: AsyncIterator[Piece]) -> AsyncIterator[bytes]:
    """The stream's events; when the core goes amid an answer, the last one says so."""
    try:
        async for body in shape.events(_chain(first, rest)):
            yield body
    except CoreLost as error:
        yield event(ApiError(503, str(error), code="core_lost").body())


async def _chain(first: Piece, rest: AsyncIterator[Piece]) -> AsyncIterator[Piece]:
    yield first
    async for piece in rest:
        yield piece


def _request_id(request: Request, shape: Shape) -> str:
    """The client's own id when it is a plain one, else ours."""
    given: str = request.headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else shape.full_id
