"""A scheduler over a real float32 engine: a tiny Llama of the decoder's own modules."""

import families
import pytest
import torch
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
from nacelle_runtime.runner import Runner
from nacelle_runtime.scheduler.bounds import Bounds
from nacelle_runtime.scheduler.scheduler import Scheduler

# A test module takes all of these, the fixtures too.
__all__ = ["EOS", "Core", "kernels", "library_of", "opened", "program"]
FLOAT32 = Quantization(algorithm=QuantizationAlgorithm.NONE, compute_type=ComputeType.FLOAT32)
LIMITS = Limits(max_batch_size=8, max_input_len=200, max_seq_len=256, max_num_tokens=256)
# Ends an answer now and then, by chance.
EOS = 2


@pytest.fixture
def opened(kernels, tmp_path, monkeypatch):
    """Opens an engine of a tiny model of that family."""
    threads = torch.get_num_threads()
    # Tensors so small are slower with more threads.
    torch.set_num_threads(1)

    def open_one(name):
        root = tmp_path / name / str(len(list(tmp_path.iterdir())))
        root.mkdir(parents=True)
        _, model, rank = families.converted(name, FLOAT32, root)
        (rank / KERNELS).symlink_to(kernels)
        recipe = Recipe(architecture=cpu_level(cpu_flags()), quantization=FLOAT32, limits=LIMITS)
        return eager_program(monkeypatch, rank, model.spec, recipe)

    yield open_one
    torch.set_num_threads(threads)


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
        groups = len(program.signature.kv_groups)
        runner = Runner(program.run, groups, tokens_per_block=32, device=program.device)
        self.pipeline = Pipeline(self.scheduler, runner, depth)
        self.answers, self.prompts = {}, {}

    def step(self):
        ended = self.pipeline.advance()
        for item in ended.produced if ended else ():
            self.answers.setdefault(item.request[1], []).append((item.token, item.logprob))
            if item.prompt_logprobs is not None:
                self.prompts[item.request[1]] = item.prompt_logprobs
        self.scheduler.check()
        return ended

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
