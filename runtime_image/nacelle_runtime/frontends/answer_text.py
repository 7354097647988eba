"""One answer as text: tokens in, pieces of text out, ended by the core or by a stop string."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from nacelle_runtime.client import Answer
from nacelle_runtime.frontends.detokenizer import Detokenizer
from nacelle_runtime.frontends.stop_strings import StopStrings
from nacelle_runtime.frontends.tool_calls import CallPart, Reader, Said
from nacelle_runtime.request import Logprob
from nacelle_runtime.wire import Output, Times


@dataclass(frozen=True)
class Piece:
    """More text, the tokens of the answer so far, and at its end the reason.

    `told` holds the ids since the piece before and their log-probabilities, when they are wanted;
    `calls` what is read of calls of tools, which is then no part of the text.
    """

    text: str
    tokens: int
    finish: str | None
    told: tuple[tuple[int, Logprob], ...] = ()
    calls: tuple[CallPart, ...] = ()


class AnswerText:
    """Turns the tokens of one answer into text; a reader tells calls of tools apart from it.

    `times` has what the core tells of a traced request: with its first token, and with its last.
    """

    def __init__(
        self,
        decode: Callable[[list[int]], str],
        stops: Sequence[str],
        reader: Reader | None = None,
    ) -> None:
        self._reader = reader
        self._detokenizer = Detokenizer(decode)
        self._stops = StopStrings(stops)
        self._tokens = 0
        self._told: list[tuple[int, Logprob]] = []
        self.prompt_logprobs: list[Logprob] | None = None
        self.times: list[Times] = []

    def add(self, outputs: Sequence[Output]) -> Piece:
        """The piece that some tokens give."""
        shown = ""
        for output in outputs:
            self._tokens += 1
            self.prompt_logprobs = self.prompt_logprobs or output.prompt_logprobs
            if output.times is not None:
                self.times.append(output.times)
            # The id that ends an answer is not part of its text.
            if output.finish != "stop":
                shown += self._stops.add(self._detokenizer.add(output.token))
                if output.logprob is not None:
                    self._told.append((output.token, output.logprob))
            if output.finish is not None and not self._stops.found:
                shown += self._stops.add(self._detokenizer.rest())
            if self._stops.found:
                return self._piece(shown, "stop")
            if output.finish is not None:
                return self._piece(shown + self._stops.rest(), output.finish)
        return self._piece(shown, None)

    def _piece(self, text: str, finish: str | None) -> Piece:
        """A piece; what is told waits until there is text to tell it of."""
        said = Said(text)
        if self._reader is not None:
            said = self._reader.add(text)
            if finish is not None:
                said, finish = said + self._reader.rest(), self._reader.finish(finish)
        if not said.content and not said.calls and finish is None:
            return Piece("", self._tokens, None)
        told, self._told = tuple(self._told), []
        return Piece(said.content, self._tokens, finish, told, said.calls)


async def pieces(answer: Answer, text: AnswerText) -> AsyncIterator[Piece]:
    """The pieces of an answer up to its end."""
    while True:
        piece = text.add(await answer.read())
        if piece.text or piece.calls or piece.finish:
            yield piece
        if piece.finish:
            return
