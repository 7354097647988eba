"""Drafted tokens of running requests: who gets how many, and what became of them."""

from collections.abc import Sequence

from nacelle_runtime.batch import Chunk
from nacelle_runtime.request import Request, RequestId
from nacelle_runtime.speculation.acceptance import Accept, accept
from nacelle_runtime.speculation.drafter import Drafter, Wish
from nacelle_runtime.speculation.payoff import Costs, Load, Record, Steps, pays, worth_drafting

_NEW = Record()


class Speculation:
    """A way of drafting, what steps cost, and each running request's acceptance so far.

    `drafted` and `accepted` count tokens since the start. costs: of steps with drafts or prompts;
    plain: of those of one token for each answer, None where these are of the same kind; most:
    drafted tokens of one answer in a step; depth: steps in flight.
    """

    def __init__(
        self,
        drafter: Drafter,
        costs: Costs,
        most: int,
        depth: int = 1,
        rule: Accept = accept,
        plain: Costs | None = None,
    ) -> None:
        self.drafted = 0
        self.accepted = 0
        self._drafter = drafter
        self._costs = costs
        self._plain = plain or costs
        self._most = most
        self._depth = depth
        self._accept = rule
        self._records: dict[RequestId, Record] = {}

    def load(self, answers: int, prompt_tokens: int) -> Load:
        """A step of one token for each answer, and of prompts."""
        # Alone, a request has no step go by without it.
        turns = self._depth if answers > 1 else 1
        drafting = self._drafter.seconds(answers) if answers else 0.0
        return Load(answers + prompt_tokens, float(answers), turns, drafting)

    def wish(self, request: Request, load: Load, most: int) -> int:
        """How many tokens, at most `most`, are to be drafted for an answer of the step."""
        if most < 1 or not self._drafter.promising(request):
            return 0
        record = self._record(request)
        count = worth_drafting(record, load, self._costs, min(most, self._most))
        if not count:
            self._records[request.id] = record.passed_over()
        return count

    def beside(self, load: Load, wish: Wish) -> Load:
        """The step with what was wished in it."""
        return load.with_drafts(wish.most, self._record(wish.request).acceptance)

    def pays(self, answers: int, prompt_tokens: int, load: Load, wishes: Sequence[Wish]) -> bool:
        """Whether what some of the answers wish makes all of them quicker; load: without it."""
        if not wishes:
            return True
        costs = self._costs if prompt_tokens else self._plain
        steps = Steps(costs.of(load.tokens), self._costs, load.turns, load.drafting, prompt_tokens)
        drafts = [(wish.most, self._record(wish.request).hoped) for wish in wishes]
        if pays(answers, drafts, steps):
            return True
        for wish in wishes:
            self._records[wish.request.id] = self._record(wish.request).passed_over()
        return False

    def draft(self, wishes: Sequence[Wish]) -> list[list[int]]:
        """The drafted tokens of each wish: as many or fewer."""
        return self._drafter.draft(wishes) if wishes else []

    def verified(self, part: Chunk, drawn: Sequence[int]) -> list[int]:
        """What an answer goes on by, after a chunk with drafted tokens: one token at least."""
        drafted = part.drafted
        tokens = self._accept(part.draws, drafted, drawn)
        kept = len(tokens) - 1
        record = self._records.get(part.request, _NEW)
        self._records[part.request] = record.drafted(len(drafted), kept)
        self.drafted += len(drafted)
        self.accepted += kept
        return tokens

    def _record(self, request: Request) -> Record:
        return self._records.get(request.id, _NEW)

    def forget(self, request: Request) -> None:
        """It runs no more."""
        self._records.pop(request.id, None)
        self._drafter.forget(request.id)
