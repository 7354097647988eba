"""What one step runs: a ragged batch of chunks, one a request; and what came of it.

Named tuples, for hundreds are made in every step.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nacelle_runtime.request import FinishReason, Logprob, RequestId, Sampling, Seen
from nacelle_runtime.structured.matcher import Matcher


class Draw(NamedTuple):
    """A token to be drawn: how, its place in the answer, and ids not allowed there.

    `seen` is there when penalties are, `matcher` with a grammar: they hold until the drawn token is
    committed.
    """

    sampling: Sampling
    position: int
    banned: frozenset[int]
    seen: Seen | None = None
    matcher: Matcher | None = None


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
    only grows, and a request admitted anew has another. One token is drawn after each of the last
    len(draws) tokens: one, when the chunk reaches its sequence's end; more, when the tokens after
    the first one are drafted. `awaits` is there when the chunk's one token is not known yet: the
    number of the draw, in the step launched just before, that gives it; a 0 stands in its place.
    """

    request: RequestId
    place: int
    tokens: Sequence[int]
    start: int
    blocks: Sequence[int]
    draws: Sequence[Draw] = ()
    score: Score | None = None
    awaits: int | None = None

    @property
    def end(self) -> int:
        """The length of the sequence in the cache after the step."""
        return self.start + len(self.tokens)

    @property
    def drafted(self) -> Sequence[int]:
        """Those of its tokens that are guesses, which its draws confirm or not."""
        return self.tokens[1:] if len(self.draws) > 1 else ()


class Batch(NamedTuple):
    """The chunks of one step."""

    chunks: Sequence[Chunk]

    @property
    def tokens(self) -> int:
        """Tokens in the step."""
        return sum(len(chunk.tokens) for chunk in self.chunks)

    @property
    def draws(self) -> list[Draw]:
        """The draws, in the order of their chunks."""
        return [draw for chunk in self.chunks for draw in chunk.draws]


class DeviceTime(NamedTuple):
    """Seconds from the end of the step before to this one's, and those the device had no work."""

    whole: float
    idle: float


class Drawn(NamedTuple):
    """What a step computed: one id for each draw, and the log-probabilities that were wanted.

    `logprobs` goes by the draw's number, `scores` by the chunk's. `time` is there when a step came
    just before.
    """

    tokens: Sequence[int]
    logprobs: Mapping[int, Logprob] = {}
    scores: Mapping[int, Sequence[Logprob]] = {}
    time: DeviceTime | None = None


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
