"""Schedulers over tiny pools, and a stand-in for the model: a function of the whole sequence."""

import hashlib

from nacelle_runtime.batch import Drawn
from nacelle_runtime.kv_blocks import BlockPool
from nacelle_runtime.prefix_cache import PrefixCache
from nacelle_runtime.request import Ending, Request, Sampling
from nacelle_runtime.scheduler.bounds import Bounds, Policy
from nacelle_runtime.scheduler.scheduler import Scheduler

SIZE = 4
STOP = 1
VOCABULARY = 100
GUARANTEED, MAX_UTILIZATION = Policy.GUARANTEED_NO_EVICT, Policy.MAX_UTILIZATION


def make(blocks=20, caching=True, **bounds):
    values = {
        "requests": 4,
        "tokens": 16,
        "prefill_tokens": 8,
        "input_len": 40,
        "sequence_len": 60,
        "vocabulary": VOCABULARY,
        "queue": 6,
        "tokens_per_block": SIZE,
    } | bounds
    pool = BlockPool(blocks)
    prefixes = PrefixCache(pool, "engine", values["tokens_per_block"]) if caching else None
    return Scheduler(Bounds(**values), pool, prefixes)


def request(number, prompt, max_tokens=3, salt="", min_tokens=0, priority=0, seed=0):
    ending = Ending(max_tokens, frozenset({STOP}), min_tokens)
    sampling = Sampling(seed=seed)
    return Request((0, number), list(prompt), sampling, ending, salt, priority=priority)


def step(scheduler, token=lambda draw: 7):
    batch = scheduler.schedule()
    if batch is None:
        return None, []
    return batch, scheduler.commit(batch, Drawn([token(draw) for draw in batch.draws]))


def run_dry(scheduler):
    produced = []
    while not scheduler.idle:
        batch, out = step(scheduler)
        assert batch is not None, "requests wait but nothing runs"
        scheduler.check()
        produced += out
    return produced


class StandIn:
    """The model of a test: the next token is a hash of the whole sequence, the seed and the place.

    It keeps a cache of token ids by block, as an engine keeps K and V. A sequence is read from its
    blocks alone, so a wrong block, start or length changes the answer; block 0 is never written.
    """

    def __init__(self, blocks, stop_every=29):
        self.cache = [[None] * SIZE for _ in range(blocks)]
        self.stop_every = stop_every

    def run(self, batch):
        tokens = []
        for chunk in batch.chunks:
            for position, token in enumerate(chunk.tokens, chunk.start):
                self.cache[chunk.blocks[position // SIZE]][position % SIZE] = token
        for chunk in batch.chunks:
            if chunk.draw is not None:
                sequence = [self.cache[chunk.blocks[p // SIZE]][p % SIZE] for p in range(chunk.end)]
                tokens.append(self.next(sequence, chunk.draw.sampling.seed, chunk.draw.position))
        return Drawn(tokens)

    def next(self, sequence, seed, position):
        assert None not in sequence, "a token was read that was never computed"
        text = f"{sequence} {seed} {position}".encode()
        number = int.from_bytes(hashlib.blake2b(text, digest_size=6).digest(), "big")
        return STOP if number % self.stop_every == 0 else 2 + number % (VOCABULARY - 2)

    def alone(self, prompt, max_tokens, seed=0):
        """The answer of a request that nobody disturbs."""
        tokens = list(prompt)
        while len(tokens) < len(prompt) + max_tokens:
            tokens.append(self.next(tokens, seed, len(tokens) - len(prompt)))
            if tokens[-1] == STOP:
                break
        return tokens[len(prompt) :]
