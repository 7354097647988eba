"""The scheduler over a real float32 engine of a tiny Llama: in any mix each answer is as alone."""

import random

import families
import pytest
from float32_engine import EOS, Core, kernels, library_of, opened, program

from nacelle_runtime.kv_blocks import BlockPool
from nacelle_runtime.request import Ending, Request, Sampling
from nacelle_runtime.runner import Runner
from nacelle_runtime.scheduler.bounds import Policy
from nacelle_runtime.speculation.draft_engine import DraftEngine
from nacelle_runtime.speculation.payoff import Costs
from nacelle_runtime.speculation.prompt_lookup import PromptLookup
from nacelle_runtime.speculation.speculation import Speculation

__all__ = ["kernels", "library_of", "opened", "program"]
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


@pytest.fixture(scope="module")
def known():
    """What lone runs gave, which take longest: every engine of these weights gives the same."""
    return {}


@pytest.fixture
def alone(program, known):
    """A function of a number: the answers and prompts of so many requests, each run alone."""

    def run(count):
        for request in requests(3, count):
            number = request.id[1]
            if number not in known:
                lone = Core(program, 9, caching=False, tokens=256, prefill_tokens=256)
                lone.scheduler.submit(request)
                lone.finish()
                known[number] = lone.answers[number], lone.prompts.get(number)
        found = {number: known[number] for number in range(count)}
        prompts = {number: prompt for number, (_, prompt) in found.items() if prompt is not None}
        return {number: answer for number, (answer, _) in found.items()}, prompts

    return run


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize(
    ("caching", "chunked", "depth"), [(True, True, 1), (True, True, 2), (False, False, 2)]
)
def test_answers_in_any_mix_are_those_of_lone_runs(program, alone, policy, caching, chunked, depth):
    count, walk = 36, random.Random(9)
    core = Core(
        program, 12, caching, depth, policy=policy, chunked=chunked, sequence_len=200, tokens=130
    )
    core.run(requests(3, count), walk)
    assert (core.scheduler.preemptions > 0) == (policy is Policy.MAX_UTILIZATION)
    assert (core.scheduler.hit_tokens > 0) == caching
    answers, prompts = alone(count)
    assert core.answers == answers
    assert core.prompts == prompts
    assert len(prompts) > 5


# Tokens cost nothing beside a step: whoever may draft does.
FLAT = Costs((1, 2), (1.0, 1.0))


def draft_engine(program, blocks=60):
    program.allocate_kv(blocks)
    runner = Runner(program.run, groups=1, tokens_per_block=32)
    return DraftEngine(runner, BlockPool(blocks), 32, 48, Costs((1,), (0.0,)))


@pytest.mark.parametrize(
    ("policy", "depth"), [(Policy.GUARANTEED_NO_EVICT, 1), (Policy.MAX_UTILIZATION, 2)]
)
@pytest.mark.parametrize("drafts", ["lookup", "same", "other"])
def test_with_drafts_answers_in_any_mix_are_those_of_lone_runs(
    program, opened, alone, drafts, policy, depth
):
    """Bit for bit, log-probabilities too; by the same engine, one of other weights, or the text."""
    drafter = PromptLookup()
    if drafts != "lookup":
        drafter = draft_engine(opened("llama" if drafts == "same" else "llama-biased"), 30)
    # Whoever may draft does, though with two steps in flight it would not always pay.
    speculation = Speculation(drafter, FLAT, 4)
    core = Core(program, 12, True, depth, speculation, policy=policy, sequence_len=200, tokens=130)
    answers = core.run(requests(3, 16), random.Random(9))
    assert (core.scheduler.preemptions > 0) == (policy is Policy.MAX_UTILIZATION)
    assert core.scheduler.hit_tokens > 0
    assert speculation.drafted > 0
    if drafts == "same":
        assert speculation.accepted > speculation.drafted / 2
    if drafts == "other":
        assert speculation.accepted < speculation.drafted / 2
    if drafts != "lookup":
        assert drafter.pool.available == drafter.pool.total
    assert answers == alone(16)[0]


@pytest.mark.parametrize("temperature", [0, 1.2])
def test_an_engine_that_drafts_for_itself_is_always_right(program, opened, temperature):
    """Sampled tokens too: both draw with the same number."""
    speculation = Speculation(draft_engine(opened("llama")), FLAT, 4)
    core = Core(program, 40, True, speculation=speculation)
    walk = random.Random(2)
    for number in range(6):
        prompt = [walk.randrange(3, families.VOCAB) for _ in range(walk.randrange(1, 120))]
        sampling = Sampling(temperature=temperature, top_p=0.95, seed=number)
        assert core.scheduler.submit(Request((0, number), prompt, sampling, Ending(60))) is None
    core.finish()
    assert speculation.drafted > 150
    assert speculation.accepted == speculation.drafted
    assert {len(answer) for answer in core.answers.values()} == {60}
