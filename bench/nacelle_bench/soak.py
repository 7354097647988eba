"""A server under mixed traffic for minutes: does anything of it grow, or stay behind?"""

import argparse
import threading
import time
from collections.abc import Sequence
from typing import Any

from nacelle_bench.soak_server import serving
from nacelle_bench.soak_slope import slope
from nacelle_bench.soak_traffic import Traffic
from nacelle_bench.soak_watch import Sample, Watch
from nacelle_bench.table import Table
from nacelle_engine.errors import InvalidRequest, TemporaryError

# The share of the time that counts as warming up: caches fill, allocators settle.
_WARM = 0.25
_SAMPLES = 240
# How long what clients left may take to go away (s).
_SETTLING = 20.0
_PROCESSES = ("supervisor", "core", "frontend")
# What must be at the end as it was before the load; a thread pool's threads are kept.
_KEPT = ("tasks", "waiting", "running", "kv_blocks_used", *(f"{p}_sockets" for p in _PROCESSES))
# Growth in an hour that is told from none, as a share of what a process holds.
_FLAT = 0.01


def bench_soak(arguments: argparse.Namespace) -> Table:
    """Drive a server of its own over a bundle; a row for each process."""
    if arguments.seconds < 10:
        raise InvalidRequest(f"--seconds {arguments.seconds:g}: at least 10")
    flags = ["--model-name", "soak", "--threads", str(arguments.threads)]
    if arguments.kv_cache_blocks is not None:
        flags += ["--kv-cache-blocks", str(arguments.kv_cache_blocks)]
    with serving(arguments.bundle, flags) as server:
        traffic = Traffic(server.host, server.port, arguments.clients, arguments.rate)
        watch = Watch(server, arguments.seconds / _SAMPLES)
        # What is made once is made: the vocabulary for grammars, the loop's pools.
        Traffic(server.host, server.port, 2, 4.0, seed=1).run(
            time.monotonic() + 5, threading.Event()
        )
        before = _settled(watch, None)
        thread = threading.Thread(target=watch.run)
        thread.start()
        traffic.run(time.monotonic() + arguments.seconds, watch.over)
        whole = not watch.over.is_set()
        watch.over.set()
        thread.join()
        if not whole:
            raise TemporaryError("a process of the server ended under its load")
        after = _settled(watch, before)
    left = {name: after[name] - before[name] for name in _KEPT if after[name] != before[name]}
    facts: dict[str, Any] = {
        "kind": "soak",
        "seconds": arguments.seconds,
        "clients": arguments.clients,
        "rate": arguments.rate,
        "kv_cache_blocks": arguments.kv_cache_blocks,
        "requests": dict(traffic.seen),
        "wrong": traffic.wrong[:20],
        "wrong_answers": len(traffic.wrong),
        "left_behind": left,
        "looks_unanswered": watch.missed,
    }
    rows = _rows(watch.samples)
    facts["verdict"] = _verdict(rows, facts)
    table = Table(facts, rows, {"mib": 2, "mib_an_hour": 2, "error": 2})
    if arguments.out is not None:
        kept = Table(facts, rows, others={"samples": watch.samples})
        arguments.out.write_text(kept.json() + "\n", encoding="utf-8")
    return table


def _rows(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    warm = samples[round(len(samples) * _WARM) :]
    rows = []
    for process in _PROCESSES:
        values = [sample[f"{process}_mib"] for sample in warm]
        found = slope([sample["seconds"] for sample in warm], values)
        rows.append(
            {
                "process": process,
                "mib": values[-1],
                "mib_an_hour": round(found.value, 3),
                "error": round(found.error, 3),
                "flat": not found.grows or found.value < _FLAT * values[-1],
                "most_sockets": max(sample[f"{process}_sockets"] for sample in warm),
                "most_threads": max(sample[f"{process}_threads"] for sample in warm),
            }
        )
    return rows


def _verdict(rows: Sequence[dict[str, Any]], facts: dict[str, Any]) -> str:
    faults = [f"the {row['process']} grows" for row in rows if not row["flat"]]
    faults += [f"{name} is left behind" for name in facts["left_behind"]]
    if facts["wrong_answers"]:
        faults.append(f"{facts['wrong_answers']} answers were wrong")
    return "; ".join(faults) or "flat, nothing left behind, every answer right"


def _settled(watch: Watch, wanted: Sample | None) -> Sample:
    """A look at a server without requests; what it holds may need a moment to go."""
    deadline = time.monotonic() + _SETTLING
    while True:
        found, late = watch.look(), time.monotonic() > deadline
        if found is not None:
            busy = found["running"] or found["waiting"] or found["kv_blocks_used"]
            more = wanted is not None and any(found[name] > wanted[name] for name in _KEPT)
            if late or not (busy or more):
                return found
        elif late:
            raise TemporaryError(f"the server gave no figures for {_SETTLING:g} s after its load")
        time.sleep(0.5)
