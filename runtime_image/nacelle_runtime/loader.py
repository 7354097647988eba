"""From a bundle's folder to a loop that can serve: open, size the cache, warm up."""

import gc
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from nacelle_engine.bundle import Bundle, read_bundle
from nacelle_engine.errors import InvalidRequest
from nacelle_engine.program.program import Program, open_program
from nacelle_runtime.connections import Connections
from nacelle_runtime.kv_blocks import BlockPool
from nacelle_runtime.kv_pool import KvBudget, size_pool
from nacelle_runtime.loop import Loop
from nacelle_runtime.machine import available_memory
from nacelle_runtime.pipeline import Pipeline
from nacelle_runtime.prefix_cache import PrefixCache
from nacelle_runtime.request import Ending, RefusalCode, Request, Sampling
from nacelle_runtime.runner import InFlight, Runner
from nacelle_runtime.scheduler.bounds import Bounds, Policy
from nacelle_runtime.scheduler.scheduler import Scheduler
from nacelle_runtime.settings import CoreSettings
from nacelle_runtime.speculation.opening import Served, open_draft, speculation, words
from nacelle_runtime.speculation.speculation import Speculation
from nacelle_runtime.stats import CoreStats
from nacelle_runtime.structured.compiler import Compiler
from nacelle_runtime.structured.compiling import Compiling
from nacelle_runtime.wire import Ready

# Each has kernels of its own, which a GPU loads when they are first used.
_GREEDY = Sampling(temperature=0)
_DRAWING = (
    _GREEDY,
    Sampling(temperature=0.5),
    Sampling(temperature=0.5, top_k=2),
    Sampling(temperature=0.5, top_p=0.5),
    Sampling(temperature=0.5, min_p=0.1),
    Sampling(temperature=0, logprobs=1, logit_bias={0: 1.0}, bad_words=((0,),)),
    Sampling(temperature=0, repetition_penalty=1.1, frequency_penalty=0.1),
)


def load(settings: CoreSettings, listener: socket.socket, began: float) -> Loop:
    """A warm loop over the bundle, whose digests and target were checked before."""
    torch.set_num_threads(settings.threads)
    bundle = read_bundle(Path(settings.bundle))
    program = open_program(bundle.rank(), settings.threads)
    requests = _requests(settings, bundle)
    draft = open_draft(settings, bundle, requests)
    blocks = _blocks(settings, bundle, requests, [program, *([draft.program] if draft else [])])
    program.allocate_kv(blocks)
    if draft is not None:
        draft.program.allocate_kv(blocks)
    manifest = bundle.manifest
    runner, depth = Runner.of(bundle, program), _depth(settings, program.device)
    served = Served(bundle, runner, requests, blocks, depth)
    scheduler = _scheduler(settings, served, program.device, speculation(settings, served, draft))
    pipeline = Pipeline(scheduler, runner, depth)
    _warm_up(pipeline, program.device)
    # What is there stays: a collection that looks through all of it would hold up a step.
    gc.collect()
    gc.freeze()
    ready = Ready(
        engine_key=manifest.key,
        input_len=scheduler.bounds.input_len,
        sequence_len=scheduler.bounds.sequence_len,
        vocabulary=manifest.vocab_size,
        kv_tokens=scheduler.pool.total * manifest.tokens_per_block,
        threads=settings.threads,
        loading_seconds=time.monotonic() - began,
        loaded=str(program.load_times),
        speculation=words(settings, draft),
        synthetic_acceptance=settings.synthetic_acceptance,
    )
    compiler = Compiler(bundle.tokenizer, manifest.vocab_size, manifest.eos_token_ids)
    return Loop(pipeline, Connections(listener), CoreStats(), ready, Compiling(compiler))


def free_memory(device: torch.device) -> int:
    """Bytes that a cache on the device can still take."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return available_memory()


def _depth(settings: CoreSettings, device: torch.device) -> int:
    """Steps in flight: a CPU runs them itself, so that it would prepare none meanwhile."""
    return settings.steps_in_flight or (2 if device.type == "cuda" else 1)


def _requests(settings: CoreSettings, bundle: Bundle) -> int:
    """How many run at once."""
    most = bundle.manifest.limits.max_batch_size
    requests = settings.max_batch_size or most
    if requests > most:
        raise InvalidRequest(
            f"--max-batch-size {requests}: the engine was built for at most {most}"
        )
    return requests


def _blocks(
    settings: CoreSettings, bundle: Bundle, requests: int, programs: Sequence[Program]
) -> int:
    """Blocks of the cache; each program keeps its own K and V for as many."""
    budget = KvBudget(
        available_bytes=free_memory(programs[0].device),
        free_memory_percent=settings.kv_cache_free_memory_percent,
        bytes_per_block=sum(program.kv_bytes_per_block for program in programs),
        tokens_per_block=bundle.manifest.tokens_per_block,
        requests=requests,
        sequence_len=bundle.manifest.limits.max_seq_len,
    )
    return size_pool(budget, settings.kv_cache_blocks)


def _scheduler(
    settings: CoreSettings,
    served: Served,
    device: torch.device,
    speculation: Speculation | None,
) -> Scheduler:
    manifest, limits = served.bundle.manifest, served.bundle.manifest.limits
    pool = BlockPool(served.blocks)
    size = manifest.tokens_per_block
    # A cache too small for the longest sequence lowers the longest sequence.
    sequence_len = min(limits.max_seq_len, pool.total * size)
    # Without chunks a prompt has to fit one step.
    whole = limits.max_input_len if settings.chunked_prefill else limits.max_num_tokens
    bounds = Bounds(
        requests=served.requests,
        tokens=limits.max_num_tokens,
        prefill_tokens=min(settings.prompt_tokens(device.type), limits.max_num_tokens),
        input_len=min(limits.max_input_len, sequence_len - 1, whole),
        sequence_len=sequence_len,
        vocabulary=manifest.vocab_size,
        queue=settings.queue_limit,
        tokens_per_block=size,
        policy=Policy(settings.scheduler_policy),
        chunked=settings.chunked_prefill,
    )
    prefixes = PrefixCache(pool, manifest.key, size) if settings.prefix_caching else None
    return Scheduler(bounds, pool, prefixes, speculation)


def _warm_up(pipeline: Pipeline[InFlight], device: torch.device) -> None:
    """Run prompts, each way of drawing, and batches: no request waits for what loads at first use.

    A GPU's kernels differ by the size of a step: there prompts and batches double up to the most.
    """
    bounds, total = pipeline.scheduler.bounds, pipeline.scheduler.pool.total
    longest = max(min(bounds.input_len, bounds.sequence_len - 2), 1)
    largest = bounds.prefill_tokens if bounds.chunked else bounds.tokens
    batch = min(bounds.requests, bounds.tokens, total)
    on_gpu = device.type == "cuda"
    for tokens in _doubling(largest) if on_gpu else [largest]:
        length = min(tokens, longest)
        fitting = total // -(-(length + 2) // bounds.tokens_per_block)
        _run(pipeline, min(tokens // length, batch, fitting), length, _GREEDY)
    for sampling in _DRAWING:
        _run(pipeline, 1, 1, sampling)
    for requests in _doubling(batch) if on_gpu else []:
        _run(pipeline, requests, 1, _GREEDY)
    _run_beside(pipeline)
    pipeline.scheduler.check()


def _doubling(most: int) -> list[int]:
    """1, 2, 4, ... and the largest itself."""
    return [*(1 << power for power in range(most.bit_length()) if 1 << power < most), most]


def _run(pipeline: Pipeline[InFlight], requests: int, length: int, sampling: Sampling) -> None:
    for number in range(requests):
        _submit(pipeline, number, length, sampling, 2)
    _finish(pipeline)


def _run_beside(pipeline: Pipeline[InFlight]) -> None:
    """Let a prompt join an answer: tokens that are known go beside one that is being drawn."""
    _submit(pipeline, 0, 1, _GREEDY, 4)
    for number in range(1, pipeline.depth + 1):
        pipeline.advance()
        _submit(pipeline, number, 1, _GREEDY, 1)
    _finish(pipeline)


def _submit(
    pipeline: Pipeline[InFlight], number: int, length: int, sampling: Sampling, tokens: int
) -> None:
    # The shortest sequences that an engine can be built for have no room for so many.
    most = min(tokens, pipeline.scheduler.bounds.sequence_len - length)
    request = Request((-1, number), [0] * length, sampling, Ending(most))
    refused = pipeline.scheduler.submit(request)
    while refused is not None and refused.code is RefusalCode.QUEUE_FULL:
        pipeline.advance()
        refused = pipeline.scheduler.submit(request)
    assert refused is None, f"a warm-up request was refused: {refused}"


def _finish(pipeline: Pipeline[InFlight]) -> None:
    while not pipeline.scheduler.idle:
        pipeline.advance()
    # The next prompt begins alike, and is to be computed.
    pipeline.scheduler.pool.forget_idle()
