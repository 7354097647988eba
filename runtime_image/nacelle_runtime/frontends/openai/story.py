"""What happens to each request: its id on every answer, and one line when it is over."""

import re
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nacelle_runtime import logs
from nacelle_runtime.figures import Figure
from nacelle_runtime.frontends.answer_text import AnswerText, Piece
from nacelle_runtime.frontends.openai.errors import ApiError
from nacelle_runtime.frontends.openai.gone import ClientGone
from nacelle_runtime.frontends.openai.schema import ChatRequest, CompletionRequest

_PLAIN = re.compile(r"[\x21-\x7e]{1,128}")
# The scope's entry for a request's story.
_ENTRY = "nacelle.story"


class Trace(Protocol):
    """A request as a span; `recorded` says that somebody will see it."""

    @property
    def recorded(self) -> bool:
        """The sampler's word."""
        ...

    def asked(
        self, request: ChatRequest | CompletionRequest, texts: Sequence[AnswerText], answer_id: str
    ) -> None:
        """The request is understood, and its answers are asked for."""
        ...

    def end(self, story: "Story", request_id: str) -> None:
        """The request is over."""
        ...


class Traces(Protocol):
    """Where requests become spans."""

    def begin(self, scope: Scope) -> Trace | None:
        """The span of a request; None for one that is not traced."""
        ...

    def figures(self, model: str) -> Iterator[Figure]:
        """What became of the spans."""
        ...

    def close(self) -> None:
        """Send what is left, for a few seconds at most."""
        ...


@dataclass
class Story:
    """One request as it goes; times are seconds since it came.

    error: a word for what it ended with; failed: it was the server's fault.
    """

    trace: Trace | None = None
    began: float = field(default_factory=time.monotonic)
    status: int | None = None
    prompt_tokens: int | None = None
    first_token_seconds: float | None = None
    tokens: dict[int, int] = field(default_factory=dict)
    finish: dict[int, str] = field(default_factory=dict)
    error: str | None = None
    failed: bool = False

    async def follow(
        self, pieces: AsyncIterator[tuple[int, Piece]]
    ) -> AsyncIterator[tuple[int, Piece]]:
        """Pass the pieces of the answers on, and keep count."""
        async for index, piece in pieces:
            if self.first_token_seconds is None:
                self.first_token_seconds = self.age
            self.tokens[index] = piece.tokens
            if piece.finish:
                self.finish[index] = piece.finish
            yield index, piece

    def ended_by(self, error: ApiError) -> ApiError:
        """The error that the client is told of; it is handed through."""
        self.error, self.failed = error.code or str(error.status), error.status >= 500
        return error

    def left_by(self, gone: ClientGone) -> None:
        """The client takes no more of the answer."""
        self.error = gone.code

    @property
    def traced(self) -> bool:
        """True when the core is to tell when it ran."""
        return self.trace is not None and self.trace.recorded

    @property
    def age(self) -> float:
        """Seconds since the request came, to the tenth of a millisecond."""
        return round(time.monotonic() - self.began, 4)

    def tell(self, scope: Scope) -> None:
        """Write the line."""
        logs.event(
            "nacelle.request",
            # As it was sent: decoded it may hold the end of a line, and another's beginning.
            f"{scope['method']} {scope['raw_path'].decode()}",
            status=self.status,
            seconds=self.age,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=sum(self.tokens.values()) if self.tokens else None,
            first_token_seconds=self.first_token_seconds,
            finish=",".join(self.finish[i] for i in sorted(self.finish)) or None,
            error=self.error,
        )


def story_of(scope: Scope) -> Story:
    """The story of a request that came through Stories."""
    story: Story = scope[_ENTRY]
    return story


class Stories:
    """Gives every request its id: the client's x-request-id when it is a plain one, else ours."""

    def __init__(self, app: ASGIApp, *, told: bool, traces: Traces | None) -> None:
        self._app = app
        self._told = told
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, with the id in the answer's headers and in every line that is logged."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        name = given if _PLAIN.fullmatch(given) else f"req-{uuid.uuid4().hex}"
        story = scope[_ENTRY] = Story(self._traces.begin(scope) if self._traces else None)

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                story.status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = name
            await send(message)

        reset = logs.request_id.set(name)
        try:
            await self._app(scope, receive, send_named)
        finally:
            if story.trace is not None:
                story.trace.end(story, name)
            if self._told:
                story.tell(scope)
            logs.request_id.reset(reset)
