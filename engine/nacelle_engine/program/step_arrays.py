"""A step as the arrays that launches read, padded to a captured size or as it is."""

import numpy as np
import torch
from numpy.typing import NDArray

from nacelle_engine.program.launch import Symbol
from nacelle_engine.program.mixed_sizes import MixedSize
from nacelle_engine.program.step import StepInput
from nacelle_engine.program.tiles import most_tiles, padded, tiles

Array = NDArray[np.int64] | NDArray[np.int32]
Arrays = dict[str, Array]


def is_decode(step: StepInput) -> bool:
    """True when every request runs exactly one token."""
    borders = step.q_start.numpy()
    return len(step.token_ids) == len(step.seq_lens) and bool((np.diff(borders) == 1).all())


def step_arrays(step: StepInput, query_tile: int, max_blocks: int) -> Arrays:
    """The arrays by the names that launches bind; tables of all KV groups equally wide.

    query_tile  tokens that a tile of queries covers; 0 where no launch takes tiles
    max_blocks  what the longest sequence fills; a table's columns beyond are left out
    """
    arrays: Arrays = {
        "token_ids": _host_tokens(step),
        "positions": step.positions.numpy(),
        "slots": step.slots.numpy(),
        "q_start": step.q_start.numpy(),
        "seq_lens": step.seq_lens.numpy(),
        "logits_rows": step.logits_rows.numpy(),
    }
    if query_tile:
        arrays["tile_request"], arrays["tile_first"] = tiles(step.q_start.numpy(), query_tile)
    width = min(max(table.shape[1] for table in step.block_tables), max_blocks)
    for group, table in enumerate(step.block_tables):
        arrays[f"block_table.{group}"] = _padded(table[:, :width], len(table), width)
    return arrays


def decode_arrays(step: StepInput, size: int, width: int, query_tile: int = 0) -> Arrays:
    """The arrays of a step of one token a request, as a captured graph of `size` requests has them.

    Rows that are added are token 0 of an empty sequence, whose K and V go to block 0, which belongs
    to nobody, and which no tile of queries covers; tables are `width` blocks wide.
    """
    arrays: Arrays = {
        "token_ids": _padded(_host_tokens(step), size),
        "positions": _padded(step.positions, size),
        "slots": _padded(step.slots, size),
        "q_start": np.arange(size + 1, dtype=np.int32),
        "seq_lens": _padded(step.seq_lens, size),
        "logits_rows": _padded(step.logits_rows, size),
    }
    if query_tile:
        plan = padded(tiles(step.q_start.numpy(), query_tile), size)
        arrays["tile_request"], arrays["tile_first"] = plan
    for group, table in enumerate(step.block_tables):
        arrays[f"block_table.{group}"] = _padded(table[:, :width], size, width)
    return arrays


def mixed_arrays(step: StepInput, size: MixedSize, width: int, query_tile: int) -> Arrays:
    """The arrays of a mixed step, as a captured graph of that size has them.

    Tokens that are added belong to no request: their K and V go to block 0, which belongs to
    nobody, and no tile of queries covers them. Requests that are added have no token. Tiles are as
    many as the size can have, tables `width` blocks wide. The rows of logits are as they are and
    come last: the graph ends before the head, and finds all else where it was captured.
    """
    borders = np.full(size.requests + 1, step.q_start[-1].item(), dtype=np.int32)
    borders[: len(step.q_start)] = step.q_start.numpy()
    most = most_tiles(size.tokens, size.requests, query_tile)
    request, first = padded(tiles(step.q_start.numpy(), query_tile), most)
    return {
        "token_ids": _padded(_host_tokens(step), size.tokens),
        "positions": _padded(step.positions, size.tokens),
        "slots": _padded(step.slots, size.tokens),
        "q_start": borders,
        "seq_lens": _padded(step.seq_lens, size.requests),
        "tile_request": request,
        "tile_first": first,
        **{
            f"block_table.{group}": _padded(table[:, :width], size.requests, width)
            for group, table in enumerate(step.block_tables)
        },
        "logits_rows": step.logits_rows.numpy(),
    }


def empty_step(groups: int) -> StepInput:
    """A step of no request: what graphs are captured with, once it is padded."""
    none = torch.zeros(0, dtype=torch.int64)
    return StepInput(
        token_ids=none,
        positions=none,
        slots=none,
        q_start=torch.zeros(1, dtype=torch.int32),
        block_tables=(torch.zeros(0, 0, dtype=torch.int32),) * groups,
        seq_lens=none.int(),
        logits_rows=none,
    )


def sizes_of(arrays: Arrays) -> dict[Symbol, int]:
    """The sizes that the arrays have."""
    return {
        "T": len(arrays["token_ids"]),
        "R": len(arrays["seq_lens"]),
        "L": len(arrays["logits_rows"]),
        "Q": len(arrays.get("tile_request", ())),
        "W": arrays["block_table.0"].shape[1],
    }


def _host_tokens(step: StepInput) -> Array:
    """The token ids; zeros stand in for those that are on the device, where they are put in."""
    tokens = step.token_ids
    array: Array = (
        tokens.numpy() if tokens.device.type == "cpu" else np.zeros(len(tokens), np.int64)
    )
    return array


def _padded(values: torch.Tensor | Array, *shape: int) -> Array:
    """The values in the corner of zeros of that shape."""
    array: Array = values.numpy() if isinstance(values, torch.Tensor) else values
    if array.shape == shape:
        return array
    padded: Array = np.zeros(shape, dtype=array.dtype)
    padded[tuple(slice(0, size) for size in array.shape)] = array
    return padded
