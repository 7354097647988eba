"""The block tables of running requests as one array, of which a step changes only a few numbers."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nacelle_runtime.batch import Chunk

_FIRST = (8, 16)
_NOBODY: Sequence[int] = ()


class BlockTables:
    """A row for each place of a running request; it grows as places and sequences do.

    A chunk's `blocks` is its request's own list, which only grows while it runs, and a request that
    is admitted anew brings another one: so what is new in a row is what was appended to the list.
    """

    def __init__(self) -> None:
        self._table = np.zeros(_FIRST, dtype=np.int32)
        self._owners: list[Sequence[int]] = [_NOBODY] * _FIRST[0]
        self._known = [0] * _FIRST[0]

    def rows(self, chunks: Sequence[Chunk]) -> NDArray[np.int32]:
        """int32 [R, MB]: each chunk's blocks, as wide as the longest; 0 after a request's last."""
        width = 0
        for chunk in chunks:
            place, blocks = chunk.place, chunk.blocks
            if place >= len(self._owners) or len(blocks) > self._table.shape[1]:
                self._grow(place + 1, len(blocks))
            if self._owners[place] is not blocks:
                self._owners[place], self._known[place] = blocks, 0
                self._table[place] = 0
            known = self._known[place]
            if known != len(blocks):
                self._table[place, known : len(blocks)] = blocks[known:]
                self._known[place] = len(blocks)
            width = max(width, len(blocks))
        table: NDArray[np.int32] = self._table[[chunk.place for chunk in chunks], :width]
        return table

    def _grow(self, places: int, width: int) -> None:
        """Make room, at least twice as much as before where it was too little."""
        old = self._table
        rows, columns = old.shape
        rows = max(rows, 2 * places) if places > rows else rows
        columns = max(columns, 2 * width) if width > columns else columns
        self._table = np.zeros((rows, columns), dtype=np.int32)
        self._table[: old.shape[0], : old.shape[1]] = old
        more = rows - len(self._owners)
        self._owners.extend([_NOBODY] * more)
        self._known.extend([0] * more)
