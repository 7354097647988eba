"""OpenAI's answers: whole, or as a stream of server-sent events."""

import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from nacelle_runtime.frontends.answer_text import Piece
from nacelle_runtime.frontends.openai.call_form import call_delta, whole_calls
from nacelle_runtime.frontends.openai.logprobs import (
    TextOf,
    Told,
    chat_logprobs,
    completion_logprobs,
)


@dataclass(frozen=True)
class Shape:
    """What tells the two endpoints' answers apart, and what all parts of one answer share.

    `told` says that log-probabilities are wanted; `text_of` gives a token's own text.
    """

    chat: bool
    model: str
    prompt_tokens: int
    told: bool
    text_of: TextOf
    include_usage: bool = False
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def full_id(self) -> str:
        """The id as OpenAI writes it."""
        return ("chatcmpl-" if self.chat else "cmpl-") + self.id

    def whole(self, choices: Sequence[Sequence[Piece]]) -> dict[str, Any]:
        """The answer in one, from the pieces of each choice."""
        kind = "chat.completion" if self.chat else "text_completion"
        made = [self._choice(index, parts) for index, parts in enumerate(choices)]
        tokens = sum(parts[-1].tokens for parts in choices)
        return {**self._head(kind), "choices": made, "usage": self._usage(tokens)}

    async def events(self, pieces: AsyncIterator[tuple[int, Piece]]) -> AsyncIterator[bytes]:
        """The answer as events, up to [DONE]."""
        shown: dict[int, int] = {}
        tokens: dict[int, int] = defaultdict(int)
        async for index, piece in pieces:
            if self.chat and index not in shown:
                content = None if piece.calls and not piece.text else ""
                yield self._event(index, {"role": "assistant", "content": content}, None, None)
            offset = shown.get(index, 0)
            told = self._logprobs(piece.told, offset)
            if not self.chat:
                yield self._event(index, piece.text, told, piece.finish)
            elif piece.text or piece.told or piece.calls:
                yield self._event(index, _delta(piece), told, None)
            if piece.finish and self.chat:
                yield self._event(index, {}, None, piece.finish)
            shown[index] = offset + sum(len(self.text_of(token)) for token, _ in piece.told)
            tokens[index] = piece.tokens
        if self.include_usage:
            usage = self._usage(sum(tokens.values()))
            yield event({**self._head(self._stream_kind), "choices": [], "usage": usage})
        yield b"data: [DONE]\n\n"

    @property
    def _stream_kind(self) -> str:
        return "chat.completion.chunk" if self.chat else "text_completion"

    def _choice(self, index: int, parts: Sequence[Piece]) -> dict[str, Any]:
        text = "".join(piece.text for piece in parts)
        content = {"message": _message(text, parts)} if self.chat else {"text": text}
        told = [one for piece in parts for one in piece.told]
        return {
            "index": index,
            **content,
            "logprobs": self._logprobs(told, 0),
            "finish_reason": parts[-1].finish,
        }

    def _logprobs(self, told: Told, offset: int) -> dict[str, Any] | None:
        if not self.told:
            return None
        if self.chat:
            return chat_logprobs(told, self.text_of)
        return completion_logprobs(told, self.text_of, offset)

    def _event(
        self,
        index: int,
        content: dict[str, Any] | str,
        logprobs: dict[str, Any] | None,
        finish: str | None,
    ) -> bytes:
        inner = {"delta": content} if self.chat else {"text": content}
        choice = {"index": index, **inner, "logprobs": logprobs, "finish_reason": finish}
        usage = {"usage": None} if self.include_usage else {}
        return event({**self._head(self._stream_kind), "choices": [choice], **usage})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.full_id, "object": kind, "created": self.created, "model": self.model}

    def _usage(self, tokens: int) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": tokens,
            "total_tokens": self.prompt_tokens + tokens,
        }


def _message(text: str, parts: Sequence[Piece]) -> dict[str, Any]:
    calls = [part for piece in parts for part in piece.calls]
    message = {"role": "assistant", "content": text, "refusal": None}
    if not calls:
        return message
    return message | {"content": text or None, "tool_calls": whole_calls(calls)}


def _delta(piece: Piece) -> dict[str, Any]:
    """What a piece adds to a chat's message."""
    content = {"content": piece.text} if piece.text or not piece.calls else {}
    calls = {"tool_calls": [call_delta(part) for part in piece.calls]} if piece.calls else {}
    return {**content, **calls}


def event(body: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + msgspec.json.encode(body) + b"\n\n"
