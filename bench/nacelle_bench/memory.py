"""The memory's measured read bandwidth: the ceiling of every step that must read all weights."""

import time

import torch

_BYTES = 1 << 29  # far above any cache


def gpu_read_bandwidth(device: torch.device, rounds: int = 20) -> float:
    """Bytes per second of summing 2 GiB on a GPU; the best of some rounds."""
    buffer = torch.ones(1 << 29, device=device)
    best = float("inf")
    for _ in range(rounds):
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        buffer.sum()
        torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return buffer.nbytes / best


def read_bandwidth(seconds: float = 1.0) -> float:
    """Bytes per second of summing a buffer with all of torch's threads; the best of many."""
    buffer = torch.ones(_BYTES // 4)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        buffer.sum()
        best = min(best, time.perf_counter() - start)
    return _BYTES / best
