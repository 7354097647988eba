"""A server under load: one row for each load, driven one after the other."""

import argparse
import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from nacelle_bench.serve_core import own_core
from nacelle_bench.serve_figures import MEASURES, Goal, Run, figures
from nacelle_bench.serve_http import HttpDriver
from nacelle_bench.serve_load import Load
from nacelle_bench.serve_peer import check_peer, peer_rows
from nacelle_bench.serve_socket import CoreDriver
from nacelle_bench.table import Table
from nacelle_engine.bundle import check_target, read_bundle, verify_files
from nacelle_engine.errors import InvalidRequest
from nacelle_engine.machine import this_machine
from nacelle_engine.manifest import Manifest
from nacelle_runtime.commands.serve import core_settings
from nacelle_runtime.machine import usable_processors
from nacelle_runtime.request import Sampling

_DECIMALS = {
    "step_ms": 3,
    "idle_percent": 2,
    "requests_s": 2,
    "goodput_requests_s": 2,
    "nacelle / peer": 2,
}
_HTTP = ("http://", "https://")
_LATENCIES = [f"{name}_ms_{of}" for name in ("ttft", "itl", "e2e") for of in MEASURES]


class Driver(Protocol):
    """What sends a load to a server."""

    def drive(self, load: Load) -> Run:
        """Send the load's requests when they are due, and take their answers in."""
        ...


def bench_serve(arguments: argparse.Namespace) -> Table:
    """Drive one load a row; InvalidRequest names a flag that is wrong."""
    goal, loads = _goal(arguments), list(_loads(arguments))
    manifest = _manifest(arguments.target) if arguments.hf is not None else None
    if arguments.hf is not None:
        for load in loads:
            check_peer(load, manifest)
    driven = []
    with _driver(arguments, max(load.most for load in loads)) as (facts, driver):
        for number, load in enumerate(loads):
            seed = arguments.seed + number
            if arguments.warm_up:
                few = min(arguments.warm_up, load.most)
                # Other prompts: the row must not find its own in the prefix cache.
                warm = replace(
                    load, requests=arguments.warm_up, concurrency=few, rate=None, seed=-1 - seed
                )
                driver.drive(warm)
            load = replace(load, seed=seed)
            driven.append((load, figures(driver.drive(load), goal)))
    others = {}
    if manifest is not None:
        # The core has ended: each side has the machine to itself.
        threads = arguments.threads or usable_processors()
        others["beside"] = list(peer_rows(arguments.hf, manifest, threads, driven))
    load, rows = loads[0], [row for _, row in driven]
    facts = {
        "kind": "serve",
        **facts,
        **{name: getattr(load, name) for name in ("prompt", "answer", "rate")},
        "temperature": load.sampling.temperature,
        "goal_ttft_ms": arguments.first_ms,
        "goal_itl_ms": arguments.between_ms,
    }
    rates = [name for name in rows[0] if name not in _LATENCIES]
    groups = [rates, ["concurrency", *_LATENCIES]]
    table = Table(facts, rows, _DECIMALS, others, groups)
    if arguments.out is not None:
        arguments.out.write_text(table.json() + "\n", encoding="utf-8")
    return table


def _manifest(target: str) -> Manifest | None:
    """The manifest of a bundle; None for a server that is there already."""
    if target.startswith(_HTTP) or Path(target).is_socket():
        return None
    return read_bundle(Path(target)).manifest


def _goal(arguments: argparse.Namespace) -> Goal | None:
    given = [arguments.first_ms, arguments.between_ms]
    if given == [None, None]:
        return None
    if None in given:
        raise InvalidRequest("--first-ms and --between-ms: goodput needs both")
    return Goal(arguments.first_ms / 1000, arguments.between_ms / 1000)


def _loads(arguments: argparse.Namespace) -> Iterator[Load]:
    if arguments.rate is not None and arguments.concurrency != [0]:
        raise InvalidRequest("--rate and --concurrency exclude each other")
    if arguments.warm_up < 0:
        raise InvalidRequest(f"--warm-up {arguments.warm_up} must be at least 0")
    sampling = Sampling(
        temperature=arguments.temperature,
        top_p=arguments.top_p,
        top_k=arguments.top_k,
        seed=arguments.seed,
    )
    for concurrency in arguments.concurrency:
        load = Load(
            requests=arguments.requests,
            prompt=arguments.prompt,
            answer=arguments.answer,
            concurrency=concurrency,
            rate=arguments.rate,
            sampling=sampling,
        )
        load.check(arguments.prompt, arguments.prompt + arguments.answer)
        yield load


@contextlib.contextmanager
def _driver(arguments: argparse.Namespace, most: int) -> Iterator[tuple[dict[str, Any], Driver]]:
    """What drives the target, and what is known of it."""
    target = arguments.target
    if target.startswith(_HTTP):
        if not arguments.model:
            raise InvalidRequest("--model: an endpoint is asked for a model by its name")
        yield {"target": "http"}, HttpDriver(target, arguments.model, arguments.vocabulary)
    elif Path(target).is_socket():
        with _core(Path(target)) as both:
            yield both
    else:
        bundle = read_bundle(Path(target))
        check_target(bundle, this_machine())
        verify_files(bundle)
        arguments.bundle = Path(target)
        # Sent at once, all but those that run wait: none is to be turned away.
        arguments.queue_limit = max(arguments.queue_limit, most)
        with own_core(core_settings(arguments, None)) as path, _core(path) as both:
            yield both


@contextlib.contextmanager
def _core(path: Path) -> Iterator[tuple[dict[str, Any], Driver]]:
    driver = CoreDriver(path)
    try:
        ready = driver.ready
        facts = {"target": "core", "bundle": ready.engine_key, "speculation": ready.speculation}
        yield facts, driver
    finally:
        driver.close()
