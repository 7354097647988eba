"""The scheduler over a real float32 engine of a tiny Llama: in any mix each answer is as alone."""

import random
import shutil

import families
import pytest
from cpu_kernels import kernels, library_of
from eager_program import eager_program

from nacelle_builder.convert.checkpoint import RANK0
from nacelle_builder.convert.convert import convert, read_model
from nacelle_builder.source.files import find_checkpoint
from nacelle_engine.arch import cpu_flags, cpu_level
from nacelle_engine.limits import Limits
from nacelle_engine.precision import ComputeType, Quantization, QuantizationAlgorithm
from nacelle_engine.program.signature import KERNELS, WEIGHTS
from nacelle_engine.recipe import Recipe
from nacelle_runtime.kv_blocks import BlockPool
from nacelle_runtime.pipeline import Pipeline
from nacelle_runtime.prefix_cache import PrefixCache
from nacelle_runtime.request import Ending, Request, Sampling
from nacelle_runtime.runner import Runner
from nacelle_runtime.scheduler.bounds import Bounds, Policy
from nacelle_runtime.scheduler.scheduler import Scheduler

__all__ = ["kernels", "library_of"]
pytestmark = pytest.mark.slow
FLOAT32 = Quantization(algorithm=QuantizationAlgorithm.NONE, compute_type=ComputeType.FLOAT32)
LIMITS = Limits(max_batch_size=8, max_input_len=200, max_seq_len=256, max_num_tokens=256)
# Ends an answer now and then, by chance.
EOS = 2


@pytest.fixture
def program(kernels, tmp_path, monkeypatch):
    model = read_model(find_checkpoint(families.save("llama", tmp_path / "model")))
    convert(model, FLOAT32, tmp_path / "out", lambda *_: None)
    rank = tmp_path / "rank0"
    rank.mkdir()
    shutil.copyfile(tmp_path / "out" / RANK0, rank / WEIGHTS)
    (rank / KERNELS).symlink_to(kernels)
    recipe = Recipe(architecture=cpu_level(cpu_flags()), quantization=FLOAT32, limits=LIMITS)
    return eager_program(monkeypatch, rank, model.spec, recipe)


class Core:
    """A scheduler and a runner over the program, with a cache of their own."""

    def __init__(self, program, blocks, caching, depth=1, **bounds):
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
        self.scheduler = Scheduler(Bounds(**(values | bounds)), pool, prefixes)
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
