"""The largest step that an engine takes: what its workspace is made for."""

from nacelle_engine.program.launch import Symbol
from nacelle_engine.program.signature import Signature


def largest_sizes(signature: Signature) -> dict[Symbol, int]:
    """An upper bound of each size that varies by step."""
    return {
        "T": signature.max_num_tokens,
        "R": signature.max_batch_size,
        "L": signature.max_num_tokens,
        "Q": signature.max_num_tokens,
        "W": signature.max_blocks,
    }
