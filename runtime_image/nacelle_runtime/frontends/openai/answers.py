"""OpenAI's answers: whole, or as a stream of server-sent events."""

import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from nacelle_runtime.frontends.answer_text import Piece


@dataclass(frozen=True)
class Shape:
    """What tells the two endpoints' answers apart, and what all parts of one answer share."""

    chat: bool
    model: str
    prompt_tokens: int
    include_usage: bool = False
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def full_id(self) -> str:
        """The id as OpenAI writes it."""
        return ("chatcmpl-" if self.chat else "cmpl-") + self.id

    def whole(self, text: str, last: Piece) -> dict[str, Any]:
        """The answer in one."""
        content: dict[str, Any] = (
            {"message": {"role": "assistant", "content": text, "refusal": None}}
            if self.chat
            else {"text": text}
        )
        choice = {"index": 0, **content, "logprobs": None, "finish_reason": last.finish}
        kind = "chat.completion" if self.chat else "text_completion"
        return {**self._head(kind), "choices": [choice], "usage": self._usage(last)}

    async def events(self, pieces: AsyncIterator[Piece]) -> AsyncIterator[bytes]:
        """The answer as events, up to [DONE]."""
        if self.chat:
            yield self._event({"role": "assistant", "content": ""}, None)
        async for piece in pieces:
            if piece.text or not self.chat:
                finish = None if self.chat else piece.finish
                yield self._event({"content": piece.text} if self.chat else piece.text, finish)
            if piece.finish and self.chat:
                yield self._event({}, piece.finish)
            if piece.finish and self.include_usage:
                yield event(
                    {**self._head(self._stream_kind), "choices": [], "usage": self._usage(piece)}
                )
        yield b"data: [DONE]\n\n"

    @property
    def _stream_kind(self) -> str:
        return "chat.completion.chunk" if self.chat else "text_completion"

    def _event(self, content: dict[str, str] | str, finish: str | None) -> bytes:
        inner = {"delta": content} if self.chat else {"text": content}
        choice = {"index": 0, **inner, "logprobs": None, "finish_reason": finish}
        usage = {"usage": None} if self.include_usage else {}
        return event({**self._head(self._stream_kind), "choices": [choice], **usage})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.full_id, "object": kind, "created": self.created, "model": self.model}

    def _usage(self, last: Piece) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": last.tokens,
            "total_tokens": self.prompt_tokens + last.tokens,
        }


def event(body: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + msgspec.json.encode(body) + b"\n\n"
