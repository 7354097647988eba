"""What steps of an engine cost, measured once it is open: the rule's tables."""

import time
from collections import deque
from collections.abc import Callable

from nacelle_runtime.batch import Batch, Chunk, Draw
from nacelle_runtime.request import Sampling
from nacelle_runtime.runner import InFlight, Runner
from nacelle_runtime.speculation.payoff import Costs

_GREEDY = Sampling(temperature=0)
_ROUNDS = 3
# Steps that follow each other, where several are in flight.
_IN_A_ROW = 6
# Steps of so many tokens are still short; beyond, what they cost follows the last sizes.
_MOST = 256


def drafting_costs(runner: Runner, most: int, width: int, tokens_per_block: int) -> Costs:
    """Steps of up to `most` tokens, a draw after each, `width` to a request: one at a time.

    K and V go to block 0, which belongs to nobody.
    """

    def batch(tokens: int) -> Batch:
        counts = [min(width, tokens - first) for first in range(0, tokens, width)]
        blocks = [0] * -(-width // tokens_per_block)
        return Batch([_chunk(place, count, blocks) for place, count in enumerate(counts)])

    return _measured(runner, most, batch, depth=1)


def answering_costs(runner: Runner, requests: int, depth: int) -> Costs:
    """Steps of one token for each of up to so many requests, with `depth` steps in flight."""

    def batch(tokens: int) -> Batch:
        return Batch([_chunk(place, 1, [0]) for place in range(tokens)])

    return _measured(runner, requests, batch, depth)


def _measured(runner: Runner, most: int, batch: Callable[[int], Batch], depth: int) -> Costs:
    sizes = [1]
    while 2 * sizes[-1] <= min(most, _MOST):
        sizes.append(2 * sizes[-1])
    return Costs.measured((size, _seconds(runner, batch(size), depth)) for size in sizes)


def _chunk(place: int, tokens: int, blocks: list[int]) -> Chunk:
    draws = tuple(Draw(_GREEDY, position, frozenset()) for position in range(tokens))
    return Chunk((-1, place), place, [0] * tokens, 0, blocks, draws)


def _seconds(runner: Runner, batch: Batch, depth: int) -> float:
    """Of one step, the best of a few rounds."""
    steps, found = _IN_A_ROW if depth > 1 else 1, []
    # One more: kernels are loaded when they are first used.
    for _ in range(_ROUNDS + 1):
        began = time.perf_counter()
        flying: deque[InFlight] = deque()
        for _ in range(steps):
            flying.append(runner.launch(batch, None))
            if len(flying) == depth:
                runner.collect(flying.popleft())
        while flying:
            runner.collect(flying.popleft())
        found.append((time.perf_counter() - began) / steps)
    return min(found[1:])
