"""How much of the prompts a step runs beside the answers."""

from typing import NamedTuple

from nacelle_runtime.batch import Chunk
from nacelle_runtime.request import Request
from nacelle_runtime.scheduler.bounds import Bounds
from nacelle_runtime.scheduler.chunks import chunk
from nacelle_runtime.scheduler.ledger import Ledger


class Share(NamedTuple):
    """Chunks of a step in the making, and the request of each."""

    chunks: list[Chunk]
    requests: list[Request]


class PromptShare:
    """The prompts' share of steps, under the bounds of a scheduler."""

    def __init__(self, bounds: Bounds, ledger: Ledger) -> None:
        self._bounds = bounds
        self._ledger = ledger
        # The answers waited in the last step, for a whole prompt.
        self._held_back = False

    def beside(self, answers: Share, prompts: list[Request]) -> Share:
        """The step with as much of the prompts as it takes; they are in order of admission."""
        bounds, size = self._bounds, self._bounds.tokens_per_block
        share, budget = answers, bounds.tokens - sum(len(c.tokens) for c in answers.chunks)
        if bounds.chunked:
            budget = min(budget, bounds.prefill_tokens)
        elif budget < min(prompts[0].left, bounds.tokens) and not self._held_back:
            # A whole prompt does not fit beside the answers: they wait, but never twice on end.
            share, budget, self._held_back = Share([], []), bounds.tokens, True
        else:
            self._held_back = False
        for request in prompts:
            count = min(budget, request.left)
            if count < (1 if bounds.chunked else min(request.left, bounds.tokens)):
                break
            while len(request.blocks) * size < request.planned + count:
                self._ledger.take(request)
            share.chunks.append(chunk(request, count))
            share.requests.append(request)
            budget -= count
        return share
