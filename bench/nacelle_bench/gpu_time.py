"""Time on a GPU by events, host time left out."""

from collections.abc import Callable

import torch

_MILLISECONDS = 12.0
_MOST_RUNS = 200


def microseconds(run: Callable[[], None]) -> float:
    """Mean time of a run, over about 12 ms of runs in a row after two to warm up."""
    run()
    run()
    once = _elapsed(run, 1)
    count = max(3, min(_MOST_RUNS, int(_MILLISECONDS / max(once, 1e-3))))
    return 1000 * _elapsed(run, count) / count


def captured(run: Callable[[], None]) -> Callable[[], None]:
    """A replay of `run` as a CUDA graph; it is run once before."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    replay: Callable[[], None] = graph.replay
    return replay


def _elapsed(run: Callable[[], None], count: int) -> float:
    """Milliseconds of `count` runs."""
    begin, end = _event(), _event()
    begin.record()
    for _ in range(count):
        run()
    end.record()
    end.synchronize()
    taken: float = begin.elapsed_time(end)
    return taken


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
