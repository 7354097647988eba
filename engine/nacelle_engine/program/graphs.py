"""Decode steps as CUDA graphs: captured once for some batch sizes, replayed for all up to them."""

from collections.abc import Callable

import torch


def captured_sizes(max_batch_size: int) -> tuple[int, ...]:
    """1, 2, 4, 8, 16, 24, ... and the largest batch itself."""
    sizes = [size for size in (1, 2, 4, *range(8, max_batch_size, 8)) if size < max_batch_size]
    return (*sizes, max_batch_size)


class Graphs:
    """One graph a batch size; all are captured on one stream and share their memory."""

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self._stream = stream
        self._pool = torch.cuda.graph_pool_handle()
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}

    def clear(self) -> None:
        """Forget every graph: what they were captured over is gone."""
        self._graphs.clear()
        # A pool dies with the last graph that was captured into it.
        self._pool = torch.cuda.graph_pool_handle()

    def capture(self, size: int, launch: Callable[[], None]) -> None:
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

    def size_for(self, requests: int) -> int:
        """The smallest captured size that holds so many requests."""
        return min(size for size in self._graphs if size >= requests)

    def replay(self, size: int) -> None:
        """Run a captured step on the current stream."""
        self._graphs[size].replay()
