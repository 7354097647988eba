"""Limits that no request could use: the longest one's KV cache beside the weights on the GPU."""

from bisect import bisect_left

from nacelle_builder.compile.gpu.signature import signature_of
from nacelle_engine.errors import InvalidRequest
from nacelle_engine.machine import Gpu
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.program.memory import Memory, memory_of
from nacelle_engine.recipe import Recipe


def check_memory(spec: ModelSpec, recipe: Recipe, gpu: Gpu) -> None:
    """Refuse a limits.maxSeqLen whose cache does not fit, naming the largest that does.

    What steps work in is not known before they are compiled, and comes on top.
    """

    def too_long(tokens: int) -> bool:
        return tokens > _memory(spec, recipe, tokens).tokens_that_fit(gpu.memory_bytes)

    wanted = recipe.limits.max_seq_len
    if not too_long(wanted):
        return
    memory = _memory(spec, recipe, wanted)
    cache, whole = wanted * memory.kv_bytes_per_token / 1e9, gpu.memory_bytes / 1e9
    fit = bisect_left(range(wanted), True, key=too_long) - 1
    largest = (
        f"the largest that fits is {fit}"
        if fit > 0
        else "no cache fits: quantise the weights, or take a GPU with more memory"
    )
    raise InvalidRequest(
        f"limits.maxSeqLen {wanted}: the KV cache of one such request takes {cache:.1f} GB, the "
        f"weights take {memory.bytes / 1e9:.1f} GB, and {gpu.product} has {whole:.1f} GB: {largest}"
    )


def _memory(spec: ModelSpec, recipe: Recipe, tokens: int) -> Memory:
    # The table of rotary positions grows with them.
    limits = recipe.limits.model_copy(update={"max_seq_len": tokens})
    return memory_of(signature_of(spec, recipe.model_copy(update={"limits": limits})), None)
