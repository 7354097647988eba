"""The scheduler through thousands of requests: every answer as alone, every invariant kept.

The model is a function of the whole sequence, read back from the blocks of a cache: this is the
scheduler's contract with an engine, not an engine.
"""

import random

import pytest
from guessing import FLAT, Guesser
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduling import GUARANTEED, MAX_UTILIZATION, STOP, StandIn, make, request

from nacelle_runtime.pipeline import Pipeline
from nacelle_runtime.request import FinishReason
from nacelle_runtime.speculation.payoff import Costs
from nacelle_runtime.speculation.speculation import Speculation


class Walk:
    """Random arrivals, lengths, priorities, salts and cancellations over one scheduler.

    With two steps in flight the device runs a step at any time between its launch and its end.
    """

    def __init__(self, seed, scheduler, depth):
        self.random = random.Random(seed)
        self.scheduler = scheduler
        early = random.Random(seed)
        self.model = StandIn(scheduler.pool.total + 1, 25, lambda: early.random() < 0.3)
        self.drafts = 0
        if scheduler.speculation is not None:
            scheduler.speculation._drafter.model = self.model
        self.pipeline = Pipeline(scheduler, self, depth)
        self.launched = self.overlapped = 0
        self.stems = [self.ids(30) for _ in range(3)]
        self.alive, self.answers, self.finished, self.refused = {}, {}, 0, 0
        self.number = 0

    def ids(self, count):
        return [self.random.randrange(2, 100) for _ in range(count)]

    def arrive(self):
        walk = self.random
        prompt = walk.choice(self.stems)[: walk.randrange(1, 30)] + self.ids(walk.randrange(5))
        self.number += 1
        asked = request(
            self.number,
            prompt,
            max_tokens=walk.randrange(1, 25),
            salt=walk.choice(["", "", "", "tenant"]),
            priority=walk.choice([0, 0, 0, 1, -1]),
            seed=walk.randrange(3),
            **walk.choice([{}, {}, {"presence_penalty": 0.5}, {"bad_words": ((97, 98, 99),)}]),
        )
        if self.scheduler.submit(asked) is None:
            self.alive[self.number] = asked
            self.answers[self.number] = []
        else:
            self.refused += 1

    def leave(self):
        gone = self.random.choice(sorted(self.alive))
        assert self.scheduler.cancel([(0, gone)]) == 1
        del self.alive[gone], self.answers[gone]

    def launch(self, batch, before):
        assert batch.tokens <= self.scheduler.bounds.tokens
        assert len({chunk.request for chunk in batch.chunks}) == len(batch.chunks)
        self.launched += 1
        self.drafts += any(chunk.drafted for chunk in batch.chunks)
        self.overlapped += any(chunk.awaits is not None for chunk in batch.chunks)
        self.scheduler.check()
        return self.model.launch(batch, before)

    def collect(self, step):
        return self.model.collect(step)

    def step(self):
        idle, before = self.scheduler.idle, self.launched
        ended = self.pipeline.advance()
        assert idle or ended or self.launched > before, "requests wait and nothing runs"
        if ended is not None:
            for item in ended.produced:
                self.take(item)

    def take(self, item):
        number = item.request[1]
        answer = self.answers[number]
        assert item.position == len(answer), "a token came twice, or one is lost"
        answer.append(item.token)
        if item.finish is None:
            return
        asked = self.alive.pop(number)
        assert answer == self.model.alone(
            asked.prompt, asked.ending.max_tokens, asked.sampling.seed
        ), f"request {number} answers otherwise than alone"
        assert (item.finish is FinishReason.STOP) == (answer[-1] == STOP)
        del self.answers[number]
        self.finished += 1

    def run(self, steps):
        """Bursts of arrivals and quiet stretches; then everything to its end."""
        for _ in range(steps):
            action = self.random.random()
            if action < 0.06:
                for _ in range(self.random.randrange(1, 8)):
                    self.arrive()
            elif action < 0.2:
                self.arrive()
            elif action < 0.24 and self.alive:
                self.leave()
            else:
                self.step()
            self.scheduler.check()
        while not self.scheduler.idle:
            self.step()
            self.scheduler.check()
        pool, speculation = self.scheduler.pool, self.scheduler.speculation
        assert not self.alive
        if speculation is not None:
            assert not speculation._records, "who runs no more is not forgotten"
            assert not speculation._drafter.running
        assert pool.available == pool.total, "a block is lost"


def guessing(right, depth, costs=FLAT):
    """Guesses of which each is right with this probability; none at all for None."""
    return None if right is None else Speculation(Guesser(right, 5), costs, 3, depth)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    blocks=st.integers(16, 40),
    caching=st.booleans(),
    policy=st.sampled_from([GUARANTEED, MAX_UTILIZATION]),
    chunked=st.booleans(),
    requests=st.integers(1, 6),
    patience=st.integers(1, 5),
    depth=st.integers(1, 2),
    right=st.sampled_from([None, 0.2, 0.8, 1.0]),
)
def test_short_walks_of_every_kind(
    seed, blocks, caching, policy, chunked, requests, patience, depth, right
):
    scheduler = make(
        blocks=blocks,
        caching=caching,
        policy=policy,
        chunked=chunked,
        requests=requests,
        patience=patience,
        tokens=max(requests, 9),
        queue=8,
        speculation=guessing(right, depth),
    )
    Walk(seed, scheduler, depth).run(120)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("policy", [GUARANTEED, MAX_UTILIZATION])
@pytest.mark.parametrize(("caching", "chunked"), [(True, True), (True, False), (False, True)])
def test_thousands_of_requests_over_a_tiny_pool(policy, caching, chunked, depth):
    scheduler = make(
        blocks=20, caching=caching, chunked=chunked, policy=policy, queue=30, patience=4
    )
    walk = Walk(7, scheduler, depth)
    walk.run(6500)
    assert walk.finished > 450
    assert (walk.overlapped > 1000) == (depth == 2)
    if policy is MAX_UTILIZATION:
        assert scheduler.preemptions > 30
    if caching:
        assert scheduler.hit_tokens > scheduler.asked_tokens / 20
    else:
        assert scheduler.pool.idle == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "depth", "right", "slope"),
    [
        (GUARANTEED, 1, 0.9, 0.0),
        (GUARANTEED, 2, 0.5, 0.1),
        (MAX_UTILIZATION, 1, 0.5, 0.1),
        (MAX_UTILIZATION, 2, 0.9, 0.0),
    ],
)
def test_hundreds_of_requests_with_drafts(policy, depth, right, slope):
    """Where tokens cost nothing, and where only some loads leave time for them."""
    costs = Costs((1, 2), (1.0, 1.0 + slope))
    scheduler = make(
        blocks=20, policy=policy, queue=30, patience=4, speculation=guessing(right, depth, costs)
    )
    walk = Walk(11, scheduler, depth)
    walk.run(1200)
    speculation = scheduler.speculation
    assert walk.finished > 100
    assert walk.drafts > 50
    assert speculation.drafted > speculation.accepted > 50
    assert scheduler.hit_tokens > 0
    if policy is MAX_UTILIZATION:
        assert scheduler.preemptions > 5
