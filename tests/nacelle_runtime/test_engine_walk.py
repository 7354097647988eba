"""The scheduler over a real float32 engine of a tiny Llama: in any mix each answer is as alone."""

import random

import families
import pytest
from float32_engine import EOS, Core, kernels, library_of, program

from nacelle_runtime.request import Ending, Request, Sampling
from nacelle_runtime.scheduler.bounds import Policy

__all__ = ["kernels", "library_of", "program"]
pytestmark = pytest.mark.slow


def requests(seed, count):
    """Prompts that begin alike, every kind of sampling, answers of up to 120 tokens."""
    walk = random.Random(seed)

    def ids(n):
        return [walk.randrange(3, families.VOCAB) for _ in range(n)]

    stems = [ids(70) for _ in range(2)]
    kinds = [
        {"temperature": 0},
        {"temperature": 0, "repetition_penalty": 1.3, "frequency_penalty": 0.4},
        {"temperature": 1.2, "top_k": 20, "top_p": 0.9},
        {"temperature": 1.5, "min_p": 0.05, "presence_penalty": 0.5},
    ]
    for number in range(count):
        prompt = walk.choice(stems)[: walk.randrange(1, 70)] + ids(walk.randrange(9))
        told = walk.choice([None, None, 2])
        sampling = Sampling(**walk.choice(kinds), seed=number, logprobs=told)
        ending = Ending(walk.randrange(1, 120), frozenset({EOS}), walk.randrange(3))
        priority = walk.randrange(2)
        yield Request(
            (0, number), prompt, sampling, ending, priority=priority, prompt_logprobs=told
        )


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize(
    ("caching", "chunked", "depth"), [(True, True, 1), (True, True, 2), (False, False, 2)]
)
def test_answers_in_any_mix_are_those_of_lone_runs(program, policy, caching, chunked, depth):
    count, walk = 36, random.Random(9)
    core = Core(
        program, 12, caching, depth, policy=policy, chunked=chunked, sequence_len=200, tokens=130
    )
    for request in requests(3, count):
        assert core.scheduler.submit(request) is None
        for _ in range(walk.randrange(12)):
            core.step()
    core.finish()
    assert (core.scheduler.preemptions > 0) == (policy is Policy.MAX_UTILIZATION)
    assert (core.scheduler.hit_tokens > 0) == caching
    alone, prompts = {}, {}
    for request in requests(3, count):
        lone = Core(program, 9, caching=False, tokens=256, prefill_tokens=256)
        lone.scheduler.submit(request)
        lone.finish()
        alone |= lone.answers
        prompts |= lone.prompts
    assert core.answers == alone
    assert core.prompts == prompts
    assert len(prompts) > 5
