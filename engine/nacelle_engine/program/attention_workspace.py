"""How much memory planned attention needs: upper bounds, from the largest step alone."""

from dataclasses import dataclass
from math import ceil

from nacelle_engine.program.attention_library import AttentionLibrary

_FLOAT, _INT = 4, 4
# FlashInfer's largest tile of queries (rows times heads of a group) and its smallest.
_LARGEST_TILE, _SMALLEST_TILE = 128, 16
# Programs a multiprocessor: fa2 is launched with two; decode's 128 threads fit sixteen times.
_FA2_RESIDENT, _DECODE_RESIDENT = 2, 16
# FlashAttention 3's tile of queries, of one head; its plan keeps seven numbers a tile.
_FA3_TILE, _FA3_NUMBERS = 128, 7
_ROOM = 4096  # each of about ten arrays is aligned to 16 bytes


@dataclass(frozen=True)
class LargestStep:
    """The largest step that is planned; captured_tokens: the largest inside a CUDA graph.

    multiprocessors: of the device; more of them means more programs, so it must not be too low.
    """

    requests: int
    tokens: int
    captured_tokens: int
    heads: int
    multiprocessors: int


def int_bytes(library: AttentionLibrary, largest: LargestStep) -> int:
    """Bytes of the plan itself, on the host and on the device."""
    requests, tokens = largest.requests, largest.tokens
    if library.algorithm == "fa3":
        tiles = (ceil(tokens / _FA3_TILE) + requests) * largest.heads
        return _INT * (_FA3_NUMBERS * tiles + largest.multiprocessors + 1) + _ROOM
    programs = _programs(library, largest, tokens, _SMALLEST_TILE)
    return _INT * (3 * programs + requests + 2 + tokens + 1) + programs + _ROOM


def float_bytes(library: AttentionLibrary, largest: LargestStep) -> int:
    """Bytes of the partial outputs and their denominators where a long cache is split.

    An uncaptured step is split only while its programs fit the device at once; a captured one is
    always laid out as if it were.
    """
    width = library.head_dim + 1
    if library.algorithm == "fa3":
        return _ROOM  # never splits
    if library.algorithm == "decode":
        rows = _programs(library, largest, largest.requests, _SMALLEST_TILE)
        return _FLOAT * rows * largest.heads * width + _ROOM
    resident = _resident(library, largest) * _LARGEST_TILE
    captured = (
        largest.captured_tokens * library.group_size + (largest.requests + 1) * _LARGEST_TILE
        if largest.captured_tokens
        else 0
    )
    rows = ceil(max(resident, captured) / library.group_size)
    return _FLOAT * rows * largest.heads * width + _ROOM


def _programs(library: AttentionLibrary, largest: LargestStep, tokens: int, tile: int) -> int:
    """Programs a KV head: as many as fit the device, or one a tile of queries."""
    tiles = ceil(tokens * library.group_size / tile) + largest.requests
    return max(_resident(library, largest), tiles)


def _resident(library: AttentionLibrary, largest: LargestStep) -> int:
    fitting = _DECODE_RESIDENT if library.algorithm == "decode" else _FA2_RESIDENT
    kv_heads = largest.heads // library.group_size
    return ceil(fitting * largest.multiprocessors / kv_heads)
