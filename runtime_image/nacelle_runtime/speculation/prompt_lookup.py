"""Drafts out of the request's own text: where its last tokens stood before, what followed them.

Saxena, "Prompt lookup decoding", 2023: answers repeat names, quotes and code of their prompts.
"""

from collections.abc import Sequence

from nacelle_runtime.request import Request, RequestId
from nacelle_runtime.speculation.drafter import Wish

# Tokens at the end that must have stood before: the most are tried first. A single one stands
# nearly everywhere and tells little.
LONGEST, SHORTEST = 4, 2


class Index:
    """Where each n-gram of a growing text was last followed by a token."""

    def __init__(self) -> None:
        # By n-gram: the place of the token after its newest occurrence.
        self._next: dict[tuple[int, ...], int] = {}
        self._indexed = 0

    def find(self, tokens: Sequence[int]) -> int | None:
        """The place of what followed the longest known ending, the newest time that it stood.

        tokens: the text of the call before, and what has come since.
        """
        for place in range(max(self._indexed, SHORTEST), len(tokens)):
            for length in range(SHORTEST, min(LONGEST, place) + 1):
                self._next[tuple(tokens[place - length : place])] = place
        self._indexed = len(tokens)
        for length in range(min(LONGEST, len(tokens)), SHORTEST - 1, -1):
            found = self._next.get(tuple(tokens[-length:]))
            if found is not None:
                return found
        return None


class PromptLookup:
    """The texts of running requests; a draft costs a few microseconds."""

    def __init__(self) -> None:
        self._indexes: dict[RequestId, Index] = {}

    def seconds(self, answers: int) -> float:
        """Nothing beside a step."""
        return 0.0

    def promising(self, request: Request) -> bool:
        """True when its known tokens end as they did before."""
        return self._find(request) is not None

    def draft(self, wishes: Sequence[Wish]) -> list[list[int]]:
        """What followed, as far as there is something."""
        drafts = []
        for request, most in wishes:
            place = self._find(request)
            drafts.append([] if place is None else request.tokens[place : place + most])
        return drafts

    def forget(self, request: RequestId) -> None:
        """Its text is indexed no more."""
        self._indexes.pop(request, None)

    def _find(self, request: Request) -> int | None:
        return self._indexes.setdefault(request.id, Index()).find(request.tokens)
