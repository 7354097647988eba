"""Acceptance by lot, for benchmarks of engines whose weights are random: answers mean nothing."""

from collections.abc import Iterable, Sequence

from nacelle_runtime.batch import Draw
from nacelle_runtime.philox import Purpose, uniforms
from nacelle_runtime.request import Request, RequestId
from nacelle_runtime.speculation.drafter import Wish


class SyntheticAcceptance:
    """Keeps each drafted token with the same probability, if those before it were kept."""

    def __init__(self, probability: float) -> None:
        self._probability = probability

    def __call__(
        self, draws: Sequence[Draw], drafted: Sequence[int], drawn: Sequence[int]
    ) -> list[int]:
        """The kept guesses and the token drawn after them (acceptance.py has the real one)."""
        seeds = [draw.sampling.seed for draw in draws[:-1]]
        positions = [draw.position for draw in draws[:-1]]
        lots = uniforms(seeds, positions, Purpose.SYNTHETIC) < self._probability
        kept = len(drafted) if lots.all() else int(lots.argmin())
        return [*drafted[:kept], drawn[kept]]


class AnyTokens:
    """Drafts for text that never repeats itself: the last token, as often as is asked for."""

    def seconds(self, answers: int) -> float:
        """Nothing."""
        return 0.0

    def promising(self, request: Request) -> bool:
        """Always."""
        return True

    def draft(self, wishes: Iterable[Wish]) -> list[list[int]]:
        """As many as are wished."""
        return [[wish.request.tokens[-1]] * wish.most for wish in wishes]

    def forget(self, request: RequestId) -> None:
        """Nothing is kept."""
