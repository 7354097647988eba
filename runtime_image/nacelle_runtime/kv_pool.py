"""How many blocks the KV cache gets."""

from dataclasses import dataclass

from nacelle_engine.errors import InvalidRequest, OutOfMemory


@dataclass(frozen=True)
class KvBudget:
    """What bounds the cache: free memory and the share of it, and what requests can ever use."""

    available_bytes: int
    free_memory_percent: int
    bytes_per_block: int
    tokens_per_block: int
    requests: int
    sequence_len: int


def size_pool(budget: KvBudget, blocks: int | None = None) -> int:
    """Blocks of the cache, block 0 included: as asked for, or by memory up to what can be used."""
    per_sequence = -(-budget.sequence_len // budget.tokens_per_block)
    useful = budget.requests * per_sequence + 1
    if blocks is not None:
        if blocks < 2:
            raise InvalidRequest(f"--kv-cache-blocks {blocks} must be at least 2")
        return min(blocks, useful)
    share = budget.available_bytes * budget.free_memory_percent // 100
    fitting = share // budget.bytes_per_block
    if fitting < 2:
        raise OutOfMemory(
            f"{budget.free_memory_percent} % of {budget.available_bytes} free bytes hold no block "
            f"of the KV cache ({budget.bytes_per_block} bytes): give the process more memory"
        )
    return min(fitting, useful)
