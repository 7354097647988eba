"""Steps as CUDA graphs: captured once for some sizes, replayed for all that fit one."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import torch

Size = TypeVar("Size", bound=Hashable)


def captured_sizes(max_batch_size: int) -> tuple[int, ...]:
    """Batches of decode steps: 1, 2, 4, 8, 16, 24, ... and the largest batch itself."""
    sizes = [size for size in (1, 2, 4, *range(8, max_batch_size, 8)) if size < max_batch_size]
    return (*sizes, max_batch_size)


class Graphs(Generic[Size]):
    """One graph a size of step; all are captured on one stream and share their memory."""

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self._stream = stream
        self._pool = torch.cuda.graph_pool_handle()
        self._graphs: dict[Size, torch.cuda.CUDAGraph] = {}

    def clear(self) -> None:
        """Forget every graph: what they were captured over is gone."""
        self._graphs.clear()
        # A pool dies with the last graph that was captured into it.
        self._pool = torch.cuda.graph_pool_handle()

    def capture(self, size: Size, launch: Callable[[], None]) -> None:
        """Capture what `launch` launches on the current stream; it is run once before."""
        launch()
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        graph.capture_begin(pool=self._pool)
        try:
            launch()
        finally:
            graph.capture_end()
        self._graphs[size] = graph

    def __len__(self) -> int:
        """How many were captured."""
        return len(self._graphs)

    def replay(self, size: Size) -> None:
        """Run a captured step on the current stream."""
        self._graphs[size].replay()
