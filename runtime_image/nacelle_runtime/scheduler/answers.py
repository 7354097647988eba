"""What a step that has ended adds to answers."""

from nacelle_runtime.batch import Chunk, Drawn, Produced
from nacelle_runtime.request import FinishReason, Request
from nacelle_runtime.scheduler.admission import Admission
from nacelle_runtime.scheduler.ledger import Ledger
from nacelle_runtime.speculation.speculation import Speculation


class Answers:
    """The answers of running requests, and the accounts that change with them."""

    def __init__(
        self, ledger: Ledger, admission: Admission, speculation: Speculation | None
    ) -> None:
        self._ledger = ledger
        self._admission = admission
        self._speculation = speculation

    def ran(self, request: Request, part: Chunk) -> None:
        """A part of its prompt has run, and nothing was drawn after it."""
        request.computed = part.end
        self._ledger.store(request)

    def append(self, request: Request, part: Chunk, drawn: Drawn, first: int) -> list[Produced]:
        """Add to an answer what its chunk drew, from draw `first` on; who has ended leaves at once.

        What was drafted and is not kept leaves K and V behind its last token: they are read by
        nobody, written over by the next step, and never in a block that the prefix cache knows.
        """
        tokens = drawn.tokens[first : first + len(part.draws)]
        drafted = part.drafted
        if drafted:
            assert self._speculation is not None, "drafted tokens without speculation"
            tokens = self._speculation.verified(part, tokens)
        request.awaited -= len(part.draws)
        produced: list[Produced] = []
        finish: FinishReason | None = None
        for number, token in enumerate(tokens, first):
            position = request.produced
            request.tokens.append(token)
            finish = _advance(request, token)
            wanted = request.prompt_logprobs is not None and position == 0
            scores = request.scores if wanted else None
            logprob = drawn.logprobs.get(number)
            produced.append(Produced(request.id, token, position, finish, logprob, scores))
            if finish is not None:
                break
        request.computed = part.end - len(drafted) + len(produced) - 1
        if drafted:
            request.planned, request.drafted = request.computed, 0
        self._ledger.store(request)
        if finish is not None:
            self._admission.finish(request)
        return produced


def _advance(request: Request, token: int) -> FinishReason | None:
    """The answer's penalties and grammar take in its newest token; why it ends here, if it does."""
    if request.seen is not None:
        request.seen.answer[token] += 1
    if request.matcher is not None:
        request.matcher.advance(token)
        if request.matcher.failed:
            return FinishReason.LENGTH
    if token in request.ending.stop_ids:
        return FinishReason.STOP
    if request.produced == request.ending.max_tokens:
        return FinishReason.LENGTH
    return None
