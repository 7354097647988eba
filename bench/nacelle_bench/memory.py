"""The memory's measured read bandwidth: the ceiling of every step that must read all weights."""

import time

import torch

_BYTES = 1 << 29  # far above any cache


def read_bandwidth(seconds: float = 1.0) -> float:
    """Bytes per second of summing a buffer with all of torch's threads; the best of many."""
    buffer = torch.ones(_BYTES // 4)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        buffer.sum()
        best = min(best, time.perf_counter() - start)
    return _BYTES / best
