"""A request as the core sees it: token ids in, token ids out, and where it stands."""

from dataclasses import dataclass, field
from enum import StrEnum

# Which connection it came from, and the number that connection gave it.
RequestId = tuple[int, int]


class FinishReason(StrEnum):
    """Why a request's answer ended, in OpenAI's words."""

    STOP = "stop"
    LENGTH = "length"


class RefusalCode(StrEnum):
    """Why a request was not taken in."""

    INVALID = "invalid"
    QUEUE_FULL = "queue_full"


@dataclass(frozen=True)
class Refusal:
    """A request that was not taken in: the reason, and a sentence for people."""

    code: RefusalCode
    message: str


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn: temperature 0 is greedy; top_k 0 and top_p 1 keep every token."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Ending:
    """When an answer ends: after max_tokens, or at a stop id once min_tokens are out."""

    max_tokens: int
    stop_ids: frozenset[int] = frozenset()
    min_tokens: int = 0


@dataclass(eq=False)
class Request:
    """One request; the scheduler alone changes the fields below `arrived`.

    tokens    the prompt, then the answer so far
    computed  how many of them have their K and V in the cache
    blocks    its blocks, in order; block i holds the tokens from i * 32 on
    keys      the content keys of its full blocks, as far as they were needed
    named     how many of its blocks stand in the prefix cache under their key
    """

    id: RequestId
    prompt: list[int]
    sampling: Sampling
    ending: Ending
    salt: str = ""
    arrived: float = 0.0
    tokens: list[int] = field(default_factory=list)
    computed: int = 0
    blocks: list[int] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    named: int = 0

    def __post_init__(self) -> None:
        self.tokens = list(self.prompt)

    @property
    def produced(self) -> int:
        """How many tokens of the answer there are."""
        return len(self.tokens) - len(self.prompt)

    @property
    def longest(self) -> int:
        """The most tokens it can have in the cache; the last of an answer needs no place."""
        return len(self.prompt) + self.ending.max_tokens - 1
