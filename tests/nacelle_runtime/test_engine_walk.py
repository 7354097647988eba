"""The scheduler over a real float32 engine of a tiny Llama: in any mix each answer is as alone."""

import random

import families
import pytest
from cpu_kernels import kernels, library_of
from eager_program import eager_program

from nacelle_engine.arch import cpu_flags, cpu_level
from nacelle_engine.limits import Limits
from nacelle_engine.precision import ComputeType, Quantization, QuantizationAlgorithm
from nacelle_engine.program.signature import KERNELS
from nacelle_engine.recipe import Recipe
from nacelle_runtime.kv_blocks import BlockPool
from nacelle_runtime.pipeline import Pipeline
from nacelle_runtime.prefix_cache import PrefixCache
from nacelle_runtime.request import Ending, Request, Sampling
from nacelle_runtime.runner import Runner
from nacelle_runtime.scheduler.bounds import Bounds, Policy
from nacelle_runtime.scheduler.scheduler import Scheduler
from nacelle_runtime.speculation.draft_engine import DraftEngine
from nacelle_runtime.speculation.payoff import Costs
from nacelle_runtime.speculation.prompt_lookup import PromptLookup
from nacelle_runtime.speculation.speculation import Speculation

__all__ = ["kernels", "library_of"]
pytestmark = pytest.mark.slow
FLOAT32 = Quantization(algorithm=QuantizationAlgorithm.NONE, compute_type=ComputeType.FLOAT32)
LIMITS = Limits(max_batch_size=8, max_input_len=200, max_seq_len=256, max_num_tokens=256)
# Ends an answer now and then, by chance.
EOS = 2


@pytest.fixture
def opened(kernels, tmp_path, monkeypatch):
    """Opens an engine of a tiny model of that family."""

    def open_one(name):
        root = tmp_path / name / str(len(list(tmp_path.iterdir())))
        root.mkdir(parents=True)
        _, model, rank = families.converted(name, FLOAT32, root)
        (rank / KERNELS).symlink_to(kernels)
        recipe = Recipe(architecture=cpu_level(cpu_flags()), quantization=FLOAT32, limits=LIMITS)
        return eager_program(monkeypatch, rank, model.spec, recipe)

    return open_one


@pytest.fixture
def program(opened):
    return opened("llama")


class Core:
    """A scheduler and a runner over the program, with a cache of their own."""

    def __init__(self, program, blocks, caching, depth=1, speculation=None, **bounds):
        program.allocate_kv(blocks)
        values = {
            "requests": 6,
            "tokens": 64,
            "prefill_tokens": 40,
            "input_len": 200,
            "sequence_len": 256,
            "vocabulary": families.VOCAB,
            "queue": 100,
        }
        pool = BlockPool(blocks)
        prefixes = PrefixCache(pool, "k", 32) if caching else None
        self.scheduler = Scheduler(Bounds(**(values | bounds)), pool, prefixes, speculation)
        runner = Runner(program.run, groups=1, tokens_per_block=32)
        self.pipeline = Pipeline(self.scheduler, runner, depth)
        self.answers, self.prompts = {}, {}

    def step(self):
        ended = self.pipeline.advance()
        for item in ended.produced if ended else ():
            self.answers.setdefault(item.request[1], []).append((item.token, item.logprob))
            if item.prompt_logprobs is not None:
                self.prompts[item.request[1]] = item.prompt_logprobs
        self.scheduler.check()

    def run(self, requests, walk):
        """All of them, arriving at random; gives the answers."""
        for request in requests:
            assert self.scheduler.submit(request) is None
            for _ in range(walk.randrange(12)):
                self.step()
        self.finish()
        return self.answers

    def finish(self):
        while not self.scheduler.idle:
            self.step()
        assert self.scheduler.pool.available == self.scheduler.pool.total


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
    core.run(requests(3, count), walk)
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


# Tokens cost nothing beside a step: whoever may draft does.
FLAT = Costs((1, 2), (1.0, 1.0))


def draft_engine(program, blocks=60):
    program.allocate_kv(blocks)
    runner = Runner(program.run, groups=1, tokens_per_block=32)
    return DraftEngine(runner, BlockPool(blocks), 32, 48, Costs((1,), (0.0,)))


@pytest.fixture(scope="module")
def known():
    """Answers of lone runs, which take longest: every engine of these weights has the same."""
    return {}


def lone_answers(program, known):
    for request in requests(3, 16):
        if request.id[1] not in known:
            lone = Core(program, 9, caching=False, tokens=256, prefill_tokens=256)
            lone.scheduler.submit(request)
            lone.finish()
            known |= lone.answers
    return known


@pytest.mark.parametrize(
    ("policy", "depth"), [(Policy.GUARANTEED_NO_EVICT, 1), (Policy.MAX_UTILIZATION, 2)]
)
@pytest.mark.parametrize("drafts", ["lookup", "same", "other"])
def test_with_drafts_answers_in_any_mix_are_those_of_lone_runs(
    program, opened, known, drafts, policy, depth
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
    assert answers == lone_answers(program, known)


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
