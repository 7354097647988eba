"""Drafters of tests: what is told beforehand, and guesses at a stand-in that are often right."""

import random

from scheduling import VOCABULARY

from nacelle_runtime.speculation.payoff import Costs
from nacelle_runtime.speculation.speculation import Speculation

# Tokens cost nothing beside a step.
FLAT = Costs((1, 2), (1.0, 1.0))


class Told:
    """Drafts the tokens told for a request's number, as often as it is asked."""

    def __init__(self, drafts):
        self.drafts, self.forgotten = drafts, []

    def seconds(self, answers):
        return 0.0

    def promising(self, request):
        return request.id[1] in self.drafts

    def draft(self, wishes):
        return [list(self.drafts[wish.request.id[1]][: wish.most]) for wish in wishes]

    def forget(self, request):
        self.forgotten.append(request[1])


def told(drafts, most=4, depth=1, costs=FLAT):
    return Speculation(Told(drafts), costs, most, depth)


class Guesser:
    """Guesses at `model`, a StandIn: each token is right with this probability."""

    def __init__(self, right, seed):
        self.right, self.random, self.model = right, random.Random(seed), None
        self.running = set()

    def seconds(self, answers):
        return 0.0

    def promising(self, request):
        return self.random.random() < 0.8

    def draft(self, wishes):
        return [self._guess(wish.request, wish.most) for wish in wishes]

    def _guess(self, request, most):
        assert not request.awaited, "a draft is wanted while tokens are missing"
        self.running.add(request.id)
        tokens, prompt = list(request.tokens), len(request.prompt)
        for _ in range(self.random.randrange(most + 1)):
            following = self.model.next(tokens, request.sampling.seed, len(tokens) - prompt)
            wrong = 2 + self.random.randrange(VOCABULARY - 2)
            tokens.append(following if self.random.random() < self.right else wrong)
        return tokens[len(request.tokens) :]

    def forget(self, request):
        self.running.discard(request)
