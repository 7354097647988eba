"""What one step runs: a ragged batch of chunks, one a request."""

from dataclasses import dataclass

from nacelle_runtime.request import FinishReason, RequestId, Sampling


@dataclass(frozen=True)
class Draw:
    """A token to be drawn after a chunk: how, its place in the answer, and ids not allowed yet."""

    sampling: Sampling
    position: int
    banned: frozenset[int]


@dataclass(frozen=True)
class Chunk:
    """Consecutive tokens of one request: the first one's position, and the request's blocks."""

    request: RequestId
    tokens: tuple[int, ...]
    start: int
    blocks: tuple[int, ...]
    draw: Draw | None

    @property
    def end(self) -> int:
        """The length of the sequence in the cache after the step."""
        return self.start + len(self.tokens)


@dataclass(frozen=True)
class Batch:
    """The chunks of one step; a token is drawn for each chunk that reaches its sequence's end."""

    chunks: tuple[Chunk, ...]

    @property
    def tokens(self) -> int:
        """Tokens in the step."""
        return sum(len(chunk.tokens) for chunk in self.chunks)

    @property
    def draws(self) -> tuple[Draw, ...]:
        """The draws, in the order of their chunks."""
        return tuple(chunk.draw for chunk in self.chunks if chunk.draw is not None)


@dataclass(frozen=True)
class Produced:
    """One token of a request's answer, and the reason when it is the last one."""

    request: RequestId
    token: int
    position: int
    finish: FinishReason | None
