"""The drafted tokens of a step: within its tokens, the blocks and each answer's length."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nacelle_runtime.request import Request, RequestId
from nacelle_runtime.scheduler.bounds import Bounds
from nacelle_runtime.scheduler.ledger import Ledger
from nacelle_runtime.speculation.drafter import Wish
from nacelle_runtime.speculation.speculation import Speculation


class Drafted(NamedTuple):
    """The answers that a step runs, and the drafted tokens of those that have any."""

    answers: Sequence[Request]
    tokens: Mapping[RequestId, Sequence[int]]


class Drafting:
    """Speculation under the bounds of a scheduler."""

    def __init__(self, bounds: Bounds, ledger: Ledger, speculation: Speculation) -> None:
        self._bounds = bounds
        self._ledger = ledger
        self._speculation = speculation

    def choose(self, answers: Sequence[Request], prompts: Sequence[Request]) -> Drafted:
        """Who of the answers runs, and with what; the prompts get their tokens first.

        An answer that is to draft and has tokens in flight sits the step out: they must be known.
        """
        bounds, speculation = self._bounds, self._speculation
        owed = min(
            sum(request.left for request in prompts),
            bounds.prefill_tokens if bounds.chunked else bounds.tokens,
        )
        load = before = speculation.load(len(answers), owed)
        # Each running answer may have to take a block itself before long.
        spare = max(self._ledger.free - len(answers), 0)
        running, wishes, later = [], [], []
        for request in answers:
            most = min(self._most(request, spare), bounds.tokens - load.tokens)
            wish = Wish(request, speculation.wish(request, load, most))
            if wish.most and request.awaited:
                later.append(wish)
                continue
            running.append(request)
            if wish.most:
                wishes.append(wish)
                spare -= self._beyond(request, wish.most)
                load = speculation.beside(load, wish)
        if not speculation.pays(len(answers), owed, before, [*wishes, *later]):
            return Drafted(answers, {})
        drafts = speculation.draft(wishes)
        found = zip(wishes, drafts, strict=True)
        return Drafted(running, {wish.request.id: draft for wish, draft in found if draft})

    def _most(self, request: Request, spare: int) -> int:
        """Drafted tokens that an answer can take: one token more than these may come of them.

        A grammar's mask is that of the answer so far, so an answer with one has no drafts.
        """
        if request.matcher is not None or request.unscored:
            return 0
        held = len(request.blocks) + self._ledger.owed(request) + spare
        places = held * self._bounds.tokens_per_block - request.planned - 1
        left = request.ending.max_tokens - request.produced - request.awaited - 1
        return min(places, left)

    def _beyond(self, request: Request, count: int) -> int:
        """Blocks that so many drafted tokens take beyond what is held or promised."""
        needed = self._ledger.blocks_for(request.planned + 1 + count)
        return max(needed - len(request.blocks) - self._ledger.owed(request), 0)
