"""Schedulers over tiny pools, and a stand-in for the model: a function of the whole sequence."""

import hashlib
from dataclasses import dataclass, field

from nacelle_runtime.batch import Batch, Drawn
from nacelle_runtime.kv_blocks import BlockPool
from nacelle_runtime.prefix_cache import PrefixCache
from nacelle_runtime.request import Ending, Request, Sampling
from nacelle_runtime.scheduler.bounds import Bounds, Policy
from nacelle_runtime.scheduler.scheduler import Scheduler

SIZE = 4
STOP = 1
VOCABULARY = 100
GUARANTEED, MAX_UTILIZATION = Policy.GUARANTEED_NO_EVICT, Policy.MAX_UTILIZATION


def make(blocks=20, caching=True, speculation=None, **bounds):
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
    return Scheduler(Bounds(**values), pool, prefixes, speculation)


def request(number, prompt, max_tokens=3, salt="", min_tokens=0, priority=0, seed=0, **sampling):
    ending = Ending(max_tokens, frozenset({STOP}), min_tokens)
    sampling = Sampling(seed=seed, **sampling)
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


@dataclass
class Launched:
    """A step in flight, as the device knows it: the blocks are those of its launch."""

    batch: Batch
    before: "Launched | None"
    blocks: list[list[int]]
    answered: list[int] = field(default_factory=list)
    tokens: list[int] | None = None


class StandIn:
    """The model of a test: the next token is a hash of the whole sequence, the seed and the place.

    It keeps a cache of token ids by block, as an engine keeps K and V. A sequence is read from its
    blocks alone, so a wrong block, start or length changes the answer; block 0 is never written.
    A step runs at some time between its launch and its collection: when `early` says so, or late.
    Where penalties are wanted the answer so far, as it is known at the launch, counts too.
    """

    def __init__(self, blocks, stop_every=29, early=lambda: False):
        self.cache = [[None] * SIZE for _ in range(blocks)]
        self.stop_every = stop_every
        self.early = early

    def run(self, batch):
        return self.collect(self.launch(batch, None))

    def launch(self, batch, before):
        seen = [sum(d.seen.answer.values()) if d.seen else -1 for d in batch.draws]
        step = Launched(batch, before, [list(chunk.blocks) for chunk in batch.chunks], seen)
        if self.early():
            self.execute(step)
        return step

    def collect(self, step):
        self.execute(step)
        step.before = None
        return Drawn(step.tokens)

    def execute(self, step):
        """Run a step on the device, after the one before."""
        if step.tokens is not None:
            return
        if step.before is not None:
            self.execute(step.before)
        chunks = list(zip(step.batch.chunks, step.blocks, strict=True))
        for chunk, blocks in chunks:
            known = chunk.tokens
            if chunk.awaits is not None:
                assert list(known) == [0], "a token that is awaited is known"
                known = [step.before.tokens[chunk.awaits]]
            for position, token in enumerate(known, chunk.start):
                self.cache[blocks[position // SIZE]][position % SIZE] = token
        step.tokens, seen = [], iter(step.answered)
        for chunk, blocks in chunks:
            for number, draw in enumerate(chunk.draws, 1 - len(chunk.draws)):
                end = chunk.end + number
                sequence = [self.cache[blocks[p // SIZE]][p % SIZE] for p in range(end)]
                assert next(seen) in (-1, draw.position), "penalties do not know the whole answer"
                step.tokens.append(self.next(sequence, draw.sampling.seed, draw.position))

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
