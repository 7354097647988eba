"""Speed of a GPU bundle by batch and over prompts, beside the device's measured ceilings."""

import statistics
from dataclasses import dataclass
from typing import Any

import torch

from nacelle_bench.decode import Driver
from nacelle_bench.gpu_machine import machine_facts
from nacelle_bench.matrix import matrix_rate
from nacelle_bench.memory import gpu_read_bandwidth
from nacelle_bench.mixed import mixed_row
from nacelle_bench.operations import step_operations
from nacelle_bench.settings import Ceilings, Prompts, Settings
from nacelle_bench.table import Table
from nacelle_engine.program.gpu import GpuProgram
from nacelle_engine.program.graphs import captured_sizes
from nacelle_engine.program.program import Program

_BATCHES = (1, 8, 32, 128)
_DECIMALS = {"step_ms": 3, "floor_ms": 3, "gb": 3, "tflop_s": 2}


@dataclass(frozen=True)
class Rates:
    """What the device can do at most, a second: bytes read, operations done; and who says so."""

    bytes: float
    operations: float
    facts: dict[str, Any]


def bench_gpu(program: Program, key: str, settings: Settings) -> Table:
    """One row a batch that the engine holds: whole steps, the chosen ids back on the host."""
    assert isinstance(program, GpuProgram), "a bundle on a GPU is a launch list"
    rates = _rates(program.device, settings.ceilings)
    batches = [batch for batch in _BATCHES if batch <= program.signature.max_batch_size]
    facts = {
        "bundle": key,
        **machine_facts(program.device),
        **rates.facts,
        "prompt": settings.prompt,
        "answer": settings.tokens,
        "rounds": settings.rounds,
    }
    rows = [_decode_row(program, batch, settings, rates) for batch in batches]
    prefill = [_prefill_row(program, one, settings.rounds, rates) for one in settings.prefill]
    mixed = [
        mixed_row(program, one, settings.prompt + settings.tokens // 2, settings.rounds)
        for one in settings.mixed
    ]
    others = {name: made for name, made in (("prefill", prefill), ("mixed", mixed)) if made}
    return Table(facts, rows, _DECIMALS, others)


def _rates(device: torch.device, given: Ceilings) -> Rates:
    """The ceilings that were given, the others measured."""
    read, read_by = given.read_gb_s, "stated"
    if read is None:
        read, read_by = gpu_read_bandwidth(device) / 1e9, "measured: 2 GiB summed"
    matrix, matrix_by = given.matrix_tflop_s, "stated"
    if matrix is None:
        rate, kind = matrix_rate(device)
        matrix, matrix_by = rate / 1e12, f"measured: one large {kind} product"
    facts = {
        "read_gb_s": round(read, 1),
        "read_by": read_by,
        "matrix_tflop_s": round(matrix, 1),
        "matrix_by": matrix_by,
    }
    return Rates(read * 1e9, matrix * 1e12, facts)


def _decode_row(
    program: GpuProgram, batch: int, settings: Settings, rates: Rates
) -> dict[str, Any]:
    driver = Driver(program, batch, settings.prompt, settings.tokens)
    driver.seconds()  # warm
    seconds = [driver.seconds().decode for _ in range(settings.rounds)]
    step = statistics.median(seconds) / (settings.tokens - 1)
    context = settings.prompt + settings.tokens // 2
    operations = step_operations(program.signature, batch, context - 1, 1)
    floor = max(driver.bytes_per_step / rates.bytes, operations / rates.operations)
    return {
        "batch": batch,
        "context": context,
        "step_ms": round(1000 * step, 4),
        "floor_ms": round(1000 * floor, 4),
        "percent_of_floor": round(100 * floor / step, 1),
        "gb": round(driver.bytes_per_step / 1e9, 4),
        "gb_s": round(driver.bytes_per_step / step / 1e9, 1),
        "tflop_s": round(operations / step / 1e12, 3),
        "tokens_s": round(batch / step, 1),
        "launches_per_layer": _launches(program, batch, batch, decode=True),
    }


def _prefill_row(
    program: GpuProgram, prompts: Prompts, rounds: int, rates: Rates
) -> dict[str, Any]:
    driver = Driver(program, prompts.number, prompts.length, 1)
    driver.seconds()  # warm
    taken = statistics.median(driver.seconds().prefill for _ in range(rounds))
    operations = step_operations(program.signature, prompts.number, 0, prompts.length)
    tokens = prompts.number * prompts.length
    together = min(driver.prompts_together, prompts.number)
    tokens_a_step = together * prompts.length
    return {
        "prompts": prompts.number,
        "length": prompts.length,
        "tokens_a_step": tokens_a_step,
        "seconds": round(taken, 4),
        "tok_s": round(tokens / taken, 1),
        "ceiling_tok_s": round(tokens * rates.operations / operations, 1),
        "tflop_s": round(operations / taken / 1e12, 3),
        "percent_of_matrix": round(100 * operations / taken / rates.operations, 1),
        "launches_per_layer": _launches(program, tokens_a_step, together, decode=False),
    }


def _launches(program: GpuProgram, tokens: int, requests: int, *, decode: bool) -> int:
    """Launches that one layer takes in a step; a decode step runs at a captured size."""
    if decode:
        sizes = captured_sizes(program.signature.max_batch_size)
        tokens = min(size for size in sizes if size >= tokens)
    index = program.launches.step_index(tokens, decode, requests)
    chosen = program.launches.steps[index]
    return max(len(launches) for launches in chosen.kinds.values())
