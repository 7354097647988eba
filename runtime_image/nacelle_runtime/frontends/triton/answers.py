"""From the core's tokens to the values of one response's tensors; nothing of Triton is in here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from nacelle_runtime.frontends.answer_text import AnswerText
from nacelle_runtime.frontends.stop_strings import StopStrings
from nacelle_runtime.frontends.triton.request import TextRequest, TokenRequest
from nacelle_runtime.request import Logprob
from nacelle_runtime.wire import Output


@dataclass(frozen=True)
class Response:
    """The values of one response, flat; `final` says that it is the answer's last."""

    values: dict[str, list[Any]]
    final: bool


class Answering(Protocol):
    """One request's answer as it comes."""

    def add(self, outputs: Sequence[Output]) -> Response | None:
        """The response that some tokens give; None as long as there is nothing to say."""

    def rest(self) -> Response:
        """What there is of the answer when it is stopped."""


class _LogProbs:
    """The sum over the answer, and the values of a response. Without return_log_probs: zeros."""

    def __init__(self) -> None:
        self._sum = 0.0

    def values(self, found: Sequence[Logprob]) -> dict[str, list[Any]]:
        self._sum += sum(one.value for one in found)
        return {
            "cum_log_probs": [self._sum],
            "output_log_probs": [one.value for one in found],
            "batch_index": [0],
            "sequence_index": [0],
        }


class TextAnswer:
    """text_output: what is new when it streams, else the whole, after the prompt when wanted."""

    def __init__(
        self, request: TextRequest, decode: Callable[[list[int]], str], *, with_input: bool
    ) -> None:
        self._text = AnswerText(decode, request.stops)
        self._streams = request.stream
        self._shown = request.text_input if with_input and not request.stream else ""
        self._found: list[Logprob] = []
        self._log_probs = _LogProbs()

    def add(self, outputs: Sequence[Output]) -> Response | None:
        """See Answering."""
        piece = self._text.add(outputs)
        self._shown += piece.text
        self._found += [one for _, one in piece.told]
        if piece.finish is None and not (self._streams and piece.text):
            return None
        return self._response(final=piece.finish is not None)

    def rest(self) -> Response:
        """See Answering."""
        return self._response(final=True)

    def _response(self, *, final: bool) -> Response:
        shown, found = self._shown, self._found
        self._shown, self._found = "", []
        values = {"text_output": [shown], **self._log_probs.values(found)}
        return Response(values, final)


class TokenAnswer:
    """output_ids, as TextAnswer does with text; the ids that end an answer are not among them."""

    def __init__(self, request: TokenRequest, *, with_input: bool) -> None:
        # An id as a character: a stop word is then found, and held back, as a stop string is.
        self._stops = StopStrings([_characters(word) for word in request.stops])
        self._streams = request.stream
        self._shown = list(request.prompt) if with_input and not self._streams else []
        self._found: list[Logprob] = []
        self._held: list[Logprob] = []
        self._log_probs = _LogProbs()

    def add(self, outputs: Sequence[Output]) -> Response | None:
        """See Answering."""
        finish = None
        for output in outputs:
            finish = output.finish
            if finish != "stop":
                if output.logprob is not None:
                    self._held.append(output.logprob)
                self._show(self._stops.add(chr(output.token)))
            if self._stops.found:
                finish = "stop"
                break
        if finish is not None and not self._stops.found:
            self._show(self._stops.rest())
        if finish is None and not (self._streams and self._shown):
            return None
        return self._response(final=finish is not None)

    def rest(self) -> Response:
        """See Answering."""
        return self._response(final=True)

    def _show(self, characters: str) -> None:
        self._shown += [ord(c) for c in characters]
        self._found += self._held[: len(characters)]
        del self._held[: len(characters)]

    def _response(self, *, final: bool) -> Response:
        shown, found = self._shown, self._found
        self._shown, self._found = [], []
        values = {"output_ids": shown, "sequence_length": [len(shown)]}
        return Response({**values, **self._log_probs.values(found)}, final)


def _characters(ids: Sequence[int]) -> str:
    return "".join(map(chr, ids))
