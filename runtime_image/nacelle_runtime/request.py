"""A request as the core sees it: token ids in, token ids out, and where it stands."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from nacelle_runtime.structured.matcher import Matcher

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


class Logprob(NamedTuple):
    """One token's log-probability in the model's own distribution, and the most likely ids.

    The distribution is softmax(logits) before any bias, penalty, temperature or cut. `ids` are the
    ones asked for, most likely first, and `values` their log-probabilities; `rank` counts from 1.
    """

    value: float
    rank: int
    ids: list[int]
    values: list[float]


# Below it a temperature is 0 in float32; the draw there is greedy long before.
COLDEST = 1e-30
# Below it top_p keeps the one likeliest token, whatever it is: no vocabulary has 1e9 ids.
NARROWEST = 1e-9


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn; the defaults change nothing. sampling/ has the formulas.

    temperature 0 is greedy; top_k 0, top_p 1 and min_p 0 keep every token. `logprobs` counts the
    likeliest ids told beside the chosen one; None: nothing is told.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[int, float] = field(default_factory=dict)
    bad_words: tuple[tuple[int, ...], ...] = ()
    logprobs: int | None = None

    @property
    def cuts(self) -> bool:
        """True when unlikely tokens are cut."""
        return self.top_k > 0 or self.top_p < 1 or self.min_p > 0

    @property
    def penalised(self) -> bool:
        """True when what stands in the sequence already changes the draw."""
        return (self.repetition_penalty, self.presence_penalty, self.frequency_penalty) != (1, 0, 0)


@dataclass(frozen=True)
class Ending:
    """When an answer ends: after max_tokens, or at a stop id once min_tokens are out."""

    max_tokens: int
    stop_ids: frozenset[int] = frozenset()
    min_tokens: int = 0


class Seen(NamedTuple):
    """What penalties look at: the prompt's ids, and how often each id stands in the answer."""

    prompt: frozenset[int]
    answer: Counter[int]


@dataclass(eq=False, slots=True)
class Request:
    """One request; the scheduler alone changes the fields below `matcher`.

    priority         higher ones are admitted first, as far as fairness lets them
    prompt_logprobs  the likeliest ids told beside each prompt token; None: nothing is told
    matcher          where its answer stands in its grammar; None: it has none
    number           its place in the order of arrival
    passed, urgent   how often a later one was preferred, and that it is not done any more
    tokens           the prompt, then the answer so far
    computed         how many of them have their K and V in the cache
    planned          how many will have, when the steps in flight have ended
    awaited          how many more tokens the steps in flight draw for it, at most
    drafted          how many of these are the step's guesses: until it has ended nobody knows which
                     of them stay
    draw             which draw of the last launched step gives the last of these
    step             the number of the last launched step that names its blocks; -1: none did
    hosted           whether drawing its next token takes the host to know all before it
    blocks           its blocks, in order; block i holds the tokens from i * 32 on. While it runs
                     the list only grows; a request put back gets a new one
    reserved         how many blocks it may take before it must compete for more; 0: it waits
    place            its row among the running requests; -1: it waits
    keys             the content keys of its full blocks, as far as they were needed
    named            how many of its blocks stand in the prefix cache under their key
    seen             what its penalties look at; None: it has none
    scores           the prompt's log-probabilities so far, from its second token on
    """

    id: RequestId
    prompt: list[int]
    sampling: Sampling
    ending: Ending
    salt: str = ""
    arrived: float = 0.0
    priority: int = 0
    prompt_logprobs: int | None = None
    matcher: Matcher | None = None
    number: int = -1
    passed: int = 0
    urgent: bool = False
    tokens: list[int] = field(default_factory=list)
    computed: int = 0
    planned: int = 0
    awaited: int = 0
    drafted: int = 0
    draw: int = -1
    step: int = -1
    hosted: bool = False
    blocks: list[int] = field(default_factory=list)
    reserved: int = 0
    place: int = -1
    keys: list[bytes] = field(default_factory=list)
    named: int = 0
    seen: Seen | None = None
    scores: list[Logprob] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokens = list(self.prompt)
        if self.sampling.penalised:
            self.seen = Seen(frozenset(self.prompt), Counter())
        needed = (self.seen, self.matcher, self.sampling.bad_words or None)
        self.hosted = any(one is not None for one in needed)

    @property
    def produced(self) -> int:
        """How many tokens of the answer there are."""
        return len(self.tokens) - len(self.prompt)

    @property
    def left(self) -> int:
        """How many of its tokens, those that are awaited included, no step has run yet."""
        return len(self.tokens) + self.awaited - self.planned

    @property
    def ready(self) -> bool:
        """True when a step may run its next token, though that one's id may not be known yet."""
        if not self.awaited:
            return True
        if self.hosted or self.drafted:
            return False
        return self.produced + self.awaited < self.ending.max_tokens

    @property
    def longest(self) -> int:
        """The most tokens it can have in the cache; the last of an answer needs no place."""
        return len(self.prompt) + self.ending.max_tokens - 1

    @property
    def unscored(self) -> bool:
        """True when log-probabilities of prompt tokens are still owed."""
        return self.prompt_logprobs is not None and len(self.scores) < len(self.prompt) - 1
