"""One request as a span, with children for the queue, the prefill and the decode of its answers.

Attributes are those of OpenTelemetry's semantic conventions for HTTP servers and for generative AI
(https://opentelemetry.io/docs/specs/semconv/gen-ai/); `nacelle.` is before our own. What clients
and the model write is never among them.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, set_span_in_context
from starlette.datastructures import Headers
from starlette.types import Scope

from nacelle_runtime.frontends.answer_text import AnswerText
from nacelle_runtime.frontends.openai.formats import TextFormat, asked
from nacelle_runtime.frontends.openai.schema import ChatRequest, CompletionRequest
from nacelle_runtime.frontends.openai.story import Story

# The endpoints whose requests are traced, and what their operation is called.
OPERATIONS = {"/v1/chat/completions": "chat", "/v1/completions": "text_completion"}
_PROVIDER = "nacelle"
# Request attributes that have their field's name, as the client gave it.
_FIELDS = (
    *("temperature", "top_p", "top_k", "seed", "frequency_penalty", "presence_penalty"),
    *("max_tokens", "stream"),
)


class RequestSpan:
    """A server's span, from a request's head to its answer's end."""

    def __init__(self, tracer: Tracer, scope: Scope, parent: Context) -> None:
        self._tracer = tracer
        # What brings the core's monotonic clock (ns) to the time of day.
        self._offset = time.time_ns() - time.monotonic_ns()
        self._texts: Sequence[AnswerText] = ()
        self._streams = False
        self._span = tracer.start_span(
            f"POST {scope['path']}", parent, SpanKind.SERVER, _http(scope)
        )

    @property
    def recorded(self) -> bool:
        """The sampler's word: True when anybody will see it."""
        return self._span.is_recording()

    def asked(
        self, request: ChatRequest | CompletionRequest, texts: Sequence[AnswerText], answer_id: str
    ) -> None:
        """The request is understood, and its answers are asked for."""
        if not self.recorded:
            return
        self._texts, self._streams = texts, bool(request.stream)
        given: dict[str, Any] = {name: getattr(request, name) for name in _FIELDS}
        if isinstance(request, ChatRequest) and request.max_completion_tokens is not None:
            given["max_tokens"] = request.max_completion_tokens
        given["choice.count"] = request.n if request.n != 1 else None
        given["stop_sequences"] = request.stops or None
        self._span.set_attributes(
            _present({f"gen_ai.request.{name}": value for name, value in given.items()})
            | _present({"gen_ai.output.type": _output_type(request)})
            | {"gen_ai.request.model": request.model, "gen_ai.response.model": request.model}
            | {"gen_ai.response.id": answer_id}
        )
        operation = "chat" if isinstance(request, ChatRequest) else "text_completion"
        self._span.update_name(f"{operation} {request.model}")

    def end(self, story: Story, request_id: str) -> None:
        """The request is over."""
        if not self.recorded:
            return
        finish = [story.finish[index] for index in sorted(story.finish)]
        first_chunk = story.first_token_seconds if self._streams else None
        self._span.set_attributes(
            _present(
                {
                    "nacelle.request.id": request_id,
                    "http.response.status_code": story.status,
                    "error.type": story.error,
                    "gen_ai.usage.input_tokens": story.prompt_tokens,
                    "gen_ai.usage.output_tokens": sum(story.tokens.values()) or None,
                    "gen_ai.response.finish_reasons": finish or None,
                    "gen_ai.response.time_to_first_chunk": first_chunk,
                }
            )
        )
        # The conventions for HTTP servers: what is the client's fault is no error of the span.
        if story.failed:
            self._span.set_status(Status(StatusCode.ERROR, story.error))
        for index, text in enumerate(self._texts):
            self._phases(index, text, story)
        self._span.end()

    def _phases(self, index: int, text: AnswerText, story: Story) -> None:
        """The children of one answer, as far as it came: until its first token nothing is known."""
        if not text.times:
            return
        first, last = text.times[0], text.times[-1]
        # An answer that a stop string or its client ended has no last word of the core.
        over = last.now if len(text.times) > 1 or story.tokens.get(index) == 1 else time.monotonic()
        self._child("queue", index, first.arrived, first.begun)
        self._child(
            "prefill",
            index,
            first.begun,
            first.now,
            {"gen_ai.usage.input_tokens": story.prompt_tokens},
        )
        finish = story.finish.get(index)
        self._child(
            "decode",
            index,
            first.now,
            over,
            {
                "gen_ai.usage.output_tokens": story.tokens.get(index),
                "gen_ai.response.finish_reasons": [finish] if finish else None,
            },
        )

    def _child(
        self,
        name: str,
        index: int,
        began: float,
        ended: float,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        child = self._tracer.start_span(
            name,
            set_span_in_context(self._span),
            attributes=_present({"nacelle.choice.index": index, **(attributes or {})}),
            start_time=self._of_day(began),
        )
        child.end(self._of_day(ended))

    def _of_day(self, seconds: float) -> int:
        return int(seconds * 1e9) + self._offset


def _http(scope: Scope) -> dict[str, Any]:
    address, port = scope.get("server") or (None, None)
    return _present(
        {
            "http.request.method": scope["method"],
            "http.route": scope["path"],
            "url.path": scope["path"],
            "url.scheme": scope["scheme"],
            "server.address": address,
            "server.port": port,
            "user_agent.original": Headers(scope=scope).get("user-agent"),
            "gen_ai.operation.name": OPERATIONS[scope["path"]],
            "gen_ai.provider.name": _PROVIDER,
        }
    )


def _output_type(request: ChatRequest | CompletionRequest) -> str | None:
    """What the client asked the text to be, in the conventions' words."""
    if isinstance(request.response_format, TextFormat):
        return "text"
    outputs = request.structured_outputs
    if asked(request) == "response_format" or (outputs is not None and outputs.json is not None):
        return "json"
    return None


def _present(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Those that have a value."""
    return {name: value for name, value in attributes.items() if value is not None}
