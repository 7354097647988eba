"""What one step runs: a ragged batch of chunks, one a request; and what came of it.

Named tuples, for hundreds are made in every step.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nacelle_runtime.request import FinishReason, Logprob, RequestId, Sampling, Seen


class Draw(NamedTuple):
    """A token to be drawn after a chunk: how, its place in the answer, and ids not allowed now.

    `seen` is there when penalties are; it holds until the drawn token is committed.
    """

    sampling: Sampling
    position: int
    banned: frozenset[int]
    seen: Seen | None = None


class Score(NamedTuple):
    """Prompt tokens whose log-probabilities are wanted: row `first` of the chunk gives targets[0].

    `top` counts the likeliest ids told beside each.
    """

    first: int
    targets: tuple[int, ...]
    top: int


class Chunk(NamedTuple):
    """Consecutive tokens of one request: the first one's position, and the request's blocks.

    `place` is the request's row among the running ones. `blocks` is the request's own list: it
    only grows, and a request admitted anew has another.
    """

    request: RequestId
    place: int
    tokens: Sequence[int]
    start: int
    blocks: Sequence[int]
    draw: Draw | None
    score: Score | None = None

    @property
    def end(self) -> int:
        """The length of the sequence in the cache after the step."""
        return self.start + len(self.tokens)


class Batch(NamedTuple):
    """The chunks of one step; a token is drawn for each chunk that reaches its sequence's end."""

    chunks: Sequence[Chunk]

    @property
    def tokens(self) -> int:
        """Tokens in the step."""
        return sum(len(chunk.tokens) for chunk in self.chunks)

    @property
    def draws(self) -> list[Draw]:
        """The draws, in the order of their chunks."""
        return [chunk.draw for chunk in self.chunks if chunk.draw is not None]


class Drawn(NamedTuple):
    """What a step computed: one id for each draw, and the log-probabilities that were wanted.

    `logprobs` goes by the draw's number, `scores` by the chunk's.
    """

    tokens: Sequence[int]
    logprobs: Mapping[int, Logprob] = {}
    scores: Mapping[int, Sequence[Logprob]] = {}


class Produced(NamedTuple):
    """One token of a request's answer, and the reason when it is the last one.

    `prompt_logprobs` comes with the first token, when it was wanted.
    """

    request: RequestId
    token: int
    position: int
    finish: FinishReason | None
    logprob: Logprob | None = None
    prompt_logprobs: list[Logprob] | None = None
