"""What guesses how answers go on."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from nacelle_runtime.request import Request, RequestId


class Wish(NamedTuple):
    """An answer, all of whose tokens are known, and how many drafted ones are wanted at most."""

    request: Request
    most: int


class Drafter(Protocol):
    """A drafted token is a function of the tokens before it and of the request's (seed, position).

    acceptance.py rests on that.
    """

    def seconds(self, answers: int) -> float:
        """What it takes to make a drafted token for one of so many answers."""
        ...

    def promising(self, request: Request) -> bool:
        """Whether there may be something to draft, by those of its tokens that are known."""
        ...

    def draft(self, wishes: Sequence[Wish]) -> list[list[int]]:
        """For each wish as many tokens or fewer, none too."""
        ...

    def forget(self, request: RequestId) -> None:
        """The request runs no more: it has ended, or was put back."""
        ...
