"""What steps of an engine cost, measured once it is open: the rule's table."""

import time

from nacelle_runtime.batch import Batch, Chunk, Draw
from nacelle_runtime.request import Sampling
from nacelle_runtime.runner import Runner

_GREEDY = Sampling(temperature=0)
_ROUNDS = 3
# Steps of so many tokens are still short; beyond, what they cost follows the last sizes.
_MOST = 256


def step_seconds(runner: Runner, most: int, tokens_per_block: int) -> list[tuple[int, float]]:
    """(tokens, seconds) of steps with a draw after each token, in powers of two up to `most`.

    The best of a few rounds. K and V go to block 0, which belongs to nobody.
    """
    sizes = [1]
    while 2 * sizes[-1] <= min(most, _MOST):
        sizes.append(2 * sizes[-1])
    return [(size, _seconds(runner, size, tokens_per_block)) for size in sizes]


def _seconds(runner: Runner, tokens: int, tokens_per_block: int) -> float:
    draws = tuple(Draw(_GREEDY, position, frozenset()) for position in range(tokens))
    blocks = [0] * -(-tokens // tokens_per_block)
    batch = Batch([Chunk((-1, 0), 0, [0] * tokens, 0, blocks, draws)])
    found = []
    # One more: kernels are loaded when they are first used.
    for _ in range(_ROUNDS + 1):
        began = time.perf_counter()
        runner.collect(runner.launch(batch, None))
        found.append(time.perf_counter() - began)
    return min(found[1:])
