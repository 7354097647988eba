"""Decode speed of a GPU bundle by batch, beside the memory's measured read bandwidth."""

import statistics
from typing import Any

import torch

from nacelle_bench.decode import Driver
from nacelle_bench.memory import gpu_read_bandwidth
from nacelle_bench.table import Table
from nacelle_engine.program.gpu import GpuProgram
from nacelle_engine.program.graphs import captured_sizes
from nacelle_engine.program.program import Program

_BATCHES = (1, 8, 32, 128)


def bench_gpu(program: Program, prompt: int, tokens: int, rounds: int) -> Table:
    """One row a batch that the engine holds: whole steps, the chosen ids back on the host."""
    assert isinstance(program, GpuProgram), "a bundle on a GPU is a launch list"
    bandwidth = gpu_read_bandwidth(program.device)
    batches = [batch for batch in _BATCHES if batch <= program.signature.max_batch_size]
    rows = [_row(program, Driver(program, n, prompt, tokens), rounds, bandwidth) for n in batches]
    facts = {
        "gpu": torch.cuda.get_device_name(program.device),
        "read GB/s": bandwidth / 1e9,
        "prompt": prompt,
        "answer": tokens,
    }
    return Table(facts, rows)


def _row(program: GpuProgram, driver: Driver, rounds: int, bandwidth: float) -> dict[str, Any]:
    driver.seconds()  # warm
    seconds = [driver.seconds() for _ in range(rounds)]
    step = statistics.median(s.decode for s in seconds) / (driver.tokens - 1)
    prefill = statistics.median(s.prefill for s in seconds)
    floor = driver.bytes_per_step / bandwidth
    return {
        "batch": driver.streams,
        "step ms": _milliseconds(step),
        "floor ms": _milliseconds(floor),
        "% of floor": 100 * floor / step,
        "GB/step": round(driver.bytes_per_step / 1e9, 3),
        "GB/s": driver.bytes_per_step / step / 1e9,
        "decode tokens/s": driver.streams / step,
        "prefill tokens/s": driver.streams * driver.prompt / prefill,
        "launches a layer": _launches(program, driver.streams),
    }


def _launches(program: GpuProgram, batch: int) -> int:
    """Launches that one layer takes in a decode step of the captured size for this batch."""
    sizes = captured_sizes(program.signature.max_batch_size)
    size = min(size for size in sizes if size >= batch)
    chosen = program.launches.steps[program.launches.step_index(size, decode=True)]
    (launches,) = chosen.kinds.values()
    return len(launches)


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.3f}"
