"""The scheduler through thousands of requests: every answer as alone, every invariant kept.

The model is a function of the whole sequence, read back from the blocks of a cache: this is the
scheduler's contract with an engine, not an engine.
"""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduling import GUARANTEED, MAX_UTILIZATION, STOP, StandIn, make, request

from nacelle_runtime.request import FinishReason


class Walk:
    """Random arrivals, lengths, priorities, salts and cancellations over one scheduler."""

    def __init__(self, seed, scheduler):
        self.random = random.Random(seed)
        self.scheduler = scheduler
        self.model = StandIn(scheduler.pool.total + 1, stop_every=25)
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

    def step(self):
        batch = self.scheduler.schedule()
        assert (batch is None) == (not self.alive), "requests wait and nothing runs"
        if batch is None:
            return
        assert batch.tokens <= self.scheduler.bounds.tokens
        assert len({chunk.request for chunk in batch.chunks}) == len(batch.chunks)
        for item in self.scheduler.commit(batch, self.model.run(batch)):
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
        while self.alive:
            self.step()
            self.scheduler.check()
        pool = self.scheduler.pool
        assert self.scheduler.idle
        assert pool.available == pool.total, "a block is lost"


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    blocks=st.integers(16, 40),
    caching=st.booleans(),
    policy=st.sampled_from([GUARANTEED, MAX_UTILIZATION]),
    chunked=st.booleans(),
    requests=st.integers(1, 6),
    patience=st.integers(1, 5),
)
def test_short_walks_of_every_kind(seed, blocks, caching, policy, chunked, requests, patience):
    scheduler = make(
        blocks=blocks,
        caching=caching,
        policy=policy,
        chunked=chunked,
        requests=requests,
        patience=patience,
        tokens=max(requests, 9),
        queue=8,
    )
    Walk(seed, scheduler).run(120)


@pytest.mark.parametrize("policy", [GUARANTEED, MAX_UTILIZATION])
@pytest.mark.parametrize(("caching", "chunked"), [(True, True), (True, False), (False, True)])
def test_thousands_of_requests_over_a_tiny_pool(policy, caching, chunked):
    scheduler = make(
        blocks=20, caching=caching, chunked=chunked, policy=policy, queue=30, patience=4
    )
    walk = Walk(7, scheduler)
    walk.run(6500)
    assert walk.finished > 450
    if policy is MAX_UTILIZATION:
        assert scheduler.preemptions > 30
    if caching:
        assert scheduler.hit_tokens > scheduler.asked_tokens / 20
    else:
        assert scheduler.pool.idle == 0
