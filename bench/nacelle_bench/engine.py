"""Decode speed of a bundle: one stream, many streams, the peer, and the ceiling of each."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from nacelle_bench.decode import Driver, Seconds
from nacelle_bench.memory import read_bandwidth
from nacelle_bench.settings import Ceilings, Settings
from nacelle_bench.start import start_rows
from nacelle_bench.table import Table
from nacelle_engine.arch import cpu_flags
from nacelle_engine.bundle import Bundle, check_target, read_bundle
from nacelle_engine.errors import InvalidRequest
from nacelle_engine.limits import Limits
from nacelle_engine.machine import this_machine
from nacelle_engine.program.cpu import CpuProgram
from nacelle_engine.program.program import open_program

# Flags that decide how fast bfloat16 and int8 products can be, weakest first.
_ISA = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")


@dataclass
class _Case:
    """One row in the making: `run` makes one round."""

    name: str
    streams: int
    run: Callable[[], Seconds]
    bytes_per_step: float | None
    seconds: list[Seconds]


def bench_engine(root: Path, hf: Path | None, settings: Settings) -> Table:
    """Measure all rows in interleaved rounds, so that a busy machine slows all of them alike."""
    bundle = read_bundle(root)
    check_target(bundle, this_machine())
    on_gpu = not bundle.manifest.target.architecture.is_cpu
    check_settings(settings, hf, bundle.manifest.limits, on_gpu=on_gpu)
    # Before anything of it is in this process's memory.
    starts = {"start": start_rows(root)} if settings.start else {}
    table = _measured(bundle, hf, settings, on_gpu=on_gpu)
    return replace(table, others={**table.others, **starts})


def _measured(bundle: Bundle, hf: Path | None, settings: Settings, *, on_gpu: bool) -> Table:
    program = open_program(bundle.rank(), settings.threads)
    if on_gpu:
        from nacelle_bench.gpu import bench_gpu

        return bench_gpu(program, bundle.manifest.key, settings)
    assert isinstance(program, CpuProgram)
    cases = [
        _engine_case(Driver(program, streams, settings.prompt, settings.tokens))
        for streams in (1, settings.streams)
    ]
    if hf is not None:
        cases += _peer_cases(hf, program.signature.compute_type.value, settings)
    for case in cases:
        case.run()  # warm
    bandwidths = []
    for _ in range(settings.rounds):
        bandwidths.append(read_bandwidth())
        for case in cases:
            case.seconds.append(case.run())
    bandwidth = max(bandwidths)
    rows = [_row(case, settings.tokens, bandwidth) for case in cases]
    return Table({**_facts(program, bandwidth), **_ratios(rows)}, rows)


def check_settings(settings: Settings, hf: Path | None, limits: Limits, *, on_gpu: bool) -> None:
    """Refuse what the engine cannot be measured with."""
    settings.check(limits)
    if on_gpu and hf is not None:
        raise InvalidRequest("--hf is for CPU bundles: on a GPU no peer runs beside the engine")
    if not on_gpu and settings.prefill:
        raise InvalidRequest("--prefill is for GPU bundles: a CPU's rows hold their prompts' time")
    if not on_gpu and settings.mixed:
        raise InvalidRequest("--mixed is for GPU bundles: a CPU has no graphs to compare with")
    if not on_gpu and settings.ceilings != Ceilings():
        raise InvalidRequest("--matrix-tflops and --read-gb-s are for GPU bundles")


def _engine_case(driver: Driver) -> _Case:
    name = f"nacelle {driver.program.signature.compute_type.value}"
    return _Case(name, driver.streams, driver.seconds, driver.bytes_per_step, [])


def _peer_cases(hf: Path, compute_type: str, settings: Settings) -> list[_Case]:
    from nacelle_bench.peer import Peer

    # A CPU without bfloat16 instructions serves the peer best in float32.
    cases = []
    for dtype in dict.fromkeys((compute_type, "float32")):
        peer = Peer(hf, getattr(torch, dtype))
        cases.append(
            _Case(
                f"transformers {dtype}", 1,
                lambda peer=peer: peer.seconds(settings.prompt, settings.tokens),  # type: ignore[misc]
                None, [],
            )
        )  # fmt: skip
    return cases


def _row(case: _Case, tokens: int, bandwidth: float) -> dict[str, Any]:
    # The prefill step gives each stream its first token.
    decoded = (tokens - 1) * case.streams
    decode = decoded / statistics.median(s.decode for s in case.seconds)
    per_token = case.bytes_per_step / case.streams if case.bytes_per_step else None
    ceiling = bandwidth / per_token if per_token else None
    return {
        "row": case.name,
        "streams": case.streams,
        "tokens/s": tokens * case.streams / statistics.median(s.whole for s in case.seconds),
        "decode tokens/s": decode,
        "best": decoded / min(s.decode for s in case.seconds),
        "worst": decoded / max(s.decode for s in case.seconds),
        "MB/token": per_token / 1e6 if per_token else None,
        "ceiling tokens/s": ceiling,
        "% of ceiling": 100 * decode / ceiling if ceiling else None,
    }


def _facts(program: CpuProgram, bandwidth: float) -> dict[str, Any]:
    flags = cpu_flags()
    return {
        "isa": " ".join(flag for flag in _ISA if flag in flags),
        "kernel": program.matrix_kernel,
        "threads": torch.get_num_threads(),
        "read GB/s": bandwidth / 1e9,
    }


def _ratios(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Streams are compared while decoding, peers over the whole answer, prompts included."""
    one, many, *peers = rows
    together = many["decode tokens/s"] / one["decode tokens/s"]
    ratios = {f"{many['streams']} streams / 1 stream, decode": round(together, 2)}
    for peer in peers:
        ratios[f"1 stream / {peer['row']}"] = round(one["tokens/s"] / peer["tokens/s"], 2)
    return ratios
