"""When drafted tokens pay: the rule, with no state and no clock.

Of a step with m tokens in it, C(m) seconds long, that gives g tokens of answers, one of them this
request's, its k drafted tokens make one of m + k tokens, longer by x = C(m + k) - C(m) + k d. Each
is kept with probability a if those before it were, so instead of 1 token the request gets
E(k) = (1 - a^(k+1)) / (1 - a) (Leviathan, Kalman and Matias, ICML 2023, equation 1). It drafts the
k with the most tokens a second,

    (n (g - 1) + E(k)) / (n C(m) + x),

of those that are worth the time they take, with a margin: (E(k) - n) C(m) / g > 1.1 x. n is 2 where
two steps are in flight, since a request whose guesses are in one sits the next one out; d is what a
drafted token costs to make. In a full batch C grows with m, and nothing is drafted; where C is flat
even guesses that often fail pay. Who is asked later finds the tokens of those before it in m and g.

What the requests of a step wish is asked of all of it once more, for a step with drafts may be of
another kind than one without: on a GPU the latter is a CUDA graph with kernels of its own, A long,
and the first draft pays for the difference. With D requests of r that draft k_i tokens each, n
steps give sum E(k_i) - n D tokens more and take n (C(m) - A) longer, where m = r - D +
sum (k_i + 1) / n is what each of them holds. That must be worth r (n / A) tokens a second, by the
same margin.

The acceptance a is measured, for each request alone and with newer draws counting more. One that
drafts no more tries again now and then, with few tokens, where perfect guesses would pay.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

# The margin: within it the costs, measured once, are too rough to tell.
_WORTH = 1.1
# A new request's acceptance, and how many tested tokens that counts as.
_ASSUMED, _WEIGHT = 0.5, 2.0
# What counts of the drafts before, for each draft that comes.
_KEPT = 0.9
# Steps without drafts until some are tried again, and how many tokens then.
RETRY = 32
TRIED = 2


class Record(NamedTuple):
    """A request's drafted tokens of late: how many were tested and kept; steps without drafts.

    Tokens after one that was not kept are not tested.
    """

    tested: float = 0.0
    kept: float = 0.0
    idle: int = 0

    @property
    def acceptance(self) -> float:
        """The probability that a drafted token is kept."""
        return (self.kept + _ASSUMED * _WEIGHT) / (self.tested + _WEIGHT)

    @property
    def hoped(self) -> float:
        """What the acceptance is taken for: one that tries again hopes for perfect guesses."""
        return 1.0 if self.idle >= RETRY else self.acceptance

    def drafted(self, count: int, kept: int) -> "Record":
        """After a draft of so many tokens."""
        tested = kept + (kept < count)
        return Record(self.tested * _KEPT + tested, self.kept * _KEPT + kept, 0)

    def passed_over(self) -> "Record":
        """After a step in which drafting did not pay."""
        return self._replace(idle=self.idle + 1)


class Load(NamedTuple):
    """A step in the making: m, g, n and d of the formula."""

    tokens: int
    gained: float
    turns: int = 1
    drafting: float = 0.0

    def with_drafts(self, count: int, acceptance: float) -> "Load":
        """With a request's drafted tokens in it."""
        gained = self.gained + expected(acceptance, count) - 1
        return self._replace(tokens=self.tokens + count, gained=gained)


@dataclass(frozen=True)
class Costs:
    """Seconds of a step by its tokens: sizes ascending, a straight line between two of them.

    Beyond the last size it goes on as between the last two.
    """

    sizes: tuple[int, ...]
    seconds: tuple[float, ...]

    @classmethod
    def measured(cls, points: Iterable[tuple[int, float]]) -> "Costs":
        """From measurements; a larger step counts at least as much as a smaller one."""
        sizes, seconds = zip(*sorted(points), strict=True)
        return cls(sizes, tuple(max(seconds[: n + 1]) for n in range(len(seconds))))

    def of(self, tokens: float) -> float:
        """Seconds of a step of so many tokens."""
        if len(self.sizes) == 1 or tokens <= self.sizes[0]:
            return self.seconds[0]
        after = min(bisect_left(self.sizes, tokens), len(self.sizes) - 1)
        x0, x1 = self.sizes[after - 1 : after + 1]
        y0, y1 = self.seconds[after - 1 : after + 1]
        return y0 + (y1 - y0) * (tokens - x0) / (x1 - x0)


class Steps(NamedTuple):
    """What a step is measured by: A, C, n and d of the formula; others: tokens of prompts in it."""

    alone: float
    costs: Costs
    turns: int = 1
    drafting: float = 0.0
    others: int = 0


def expected(acceptance: float, count: int) -> float:
    """Tokens that a step gives an answer with so many drafted ones."""
    if acceptance >= 1:
        return count + 1.0
    return (1 - acceptance ** (count + 1)) / (1 - acceptance)


def worth_drafting(record: Record, load: Load, costs: Costs, most: int) -> int:
    """How many tokens to draft for a request; 0 where it does not pay."""
    count = _best(record.hoped, load, costs, most)
    return min(count, TRIED) if record.idle >= RETRY else count


def pays(answers: int, drafts: Sequence[tuple[int, float]], steps: Steps) -> bool:
    """Whether `answers` requests get more tokens a second with these drafts than without.

    drafts: of each request that wishes some, how many and their acceptance.
    """
    turns, drafters = steps.turns, len(drafts)
    drafted = sum(count for count, _ in drafts)
    gained = sum(expected(acceptance, count) for count, acceptance in drafts) - turns * drafters
    each = steps.others + answers - drafters + (drafters + drafted) / turns
    longer = turns * (steps.costs.of(each) - steps.alone) + drafted * steps.drafting
    return gained * steps.alone > _WORTH * answers * longer


def _best(acceptance: float, load: Load, costs: Costs, most: int) -> int:
    step, (_, gained, turns, drafting) = costs.of(load.tokens), load
    best, best_rate = 0, 0.0
    for count in range(1, most + 1):
        own = expected(acceptance, count)
        longer = costs.of(load.tokens + count) - step + count * drafting
        rate = (turns * (gained - 1) + own) / (turns * step + longer)
        if (own - turns) * step > _WORTH * gained * longer and rate > best_rate:
            best, best_rate = count, rate
    return best
