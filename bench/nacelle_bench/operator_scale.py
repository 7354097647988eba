"""The operator with a thousand builds and deployments: how soon, at what price, and at rest."""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from nacelle_bench.operator_api import Api
from nacelle_bench.operator_cluster import prepared, wait_for
from nacelle_bench.operator_objects import BUILDER_SECONDS, Pair
from nacelle_bench.operator_process import Counts, OperatorProcess
from nacelle_bench.operator_seen import SPANS, Seen, curve, percentile
from nacelle_bench.table import Table
from nacelle_engine.errors import InvalidRequest

_GROUP: Final = "/apis/nacelle.dev/v1alpha1"
_READY: Final = (f"{_GROUP}/enginebuilds", f"{_GROUP}/inferencedeployments")
# What an operator at rest must leave as it is.
_WRITTEN: Final = (
    *_READY,
    f"{_GROUP}/engines",
    "/apis/batch/v1/jobs",
    "/apis/apps/v1/deployments",
    "/apis/apps/v1/controllerrevisions",
    "/api/v1/services",
    "/apis/events.k8s.io/v1/events",
)
# Builds, engines, deployments.
_KINDS: Final = 3
_SETTLE_SECONDS: Final = 3600.0
_QUIET_SECONDS: Final = 10.0
_PERCENTS: Final = range(0, 101, 2)
_AT_ONCE: Final = 4


def bench_operator(arguments: argparse.Namespace) -> Table:
    """Apply, wait, rest and restart; a row for each way to apply, and for each start."""
    if min(arguments.builds, arguments.nodes, arguments.namespaces) < 1 or arguments.singles < 0:
        raise InvalidRequest("--builds, --nodes and --namespaces must be at least 1, --singles 0")
    api = Api(arguments.kubeconfig)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        run = (arguments.kubeconfig, arguments.kwok, folder, arguments.nodes, arguments.namespaces)
        with prepared(api, *run) as namespaces:
            return _Run(api, arguments, namespaces, folder / "operator.log").table()


class _Run:
    """One run over a prepared cluster."""

    def __init__(
        self, api: Api, arguments: argparse.Namespace, namespaces: Sequence[str], log: Path
    ) -> None:
        self._api, self._arguments, self._namespaces, self._log = api, arguments, namespaces, log
        self._seen = Seen(api)
        self._applied: dict[str, dict[str, float]] = {"build": {}, "deployment": {}}

    def table(self) -> Table:
        """All of it, in order."""
        count, singles = self._arguments.builds, self._arguments.singles
        load = [os.getloadavg()[0]]
        operator = self._start()
        try:
            wait_for("the operator", lambda: operator.counts() is not None)
            burst = self._applies(range(count), self._burst)
            settled = self._settle(operator, count)
            price = _price(operator)
            row = {"applied": "all at once", "settled_s": settled, **burst()}
            single = self._applies(range(count, count + singles), self._one_by_one)
            rows = [row]
            if singles:
                settled = self._settle(operator, count + singles)
                rows.append({"applied": "one by one", "settled_s": settled, **single()})
            idle = self._idle(operator)
            load.append(os.getloadavg()[0])
            starts = [self._restart(end) for end in ("stop", "crash", "loss")]
        finally:
            # The last one that was started; those before it have ended.
            self._operator.kill()
            self._seen.ended.set()
        facts = {
            "kind": "operator",
            "cpus": os.cpu_count(),
            "builds": count,
            "deployments": count,
            "nodes": self._arguments.nodes,
            "namespaces": len(self._namespaces),
            "builder_pod_s": BUILDER_SECONDS,
            **price,
            **idle,
            "load_average": [round(value, 1) for value in load],
        }
        measured = [{"columns": f"{span}_p50, _p99", "seconds": is_} for span, is_ in SPANS.items()]
        others = {"measured": measured, "starts": starts}
        table = Table(facts, rows, dict.fromkeys(rows[0], 2), others)
        if self._arguments.out is not None:
            curves = [{"percent": p, **self._at(i)} for i, p in enumerate(_PERCENTS)]
            kept = Table(facts, rows, others={**others, "samples": curves})
            self._arguments.out.write_text(kept.json() + "\n", encoding="utf-8")
        return table

    def _start(self, pod: str = "") -> OperatorProcess:
        namespace = self._namespaces[0]
        self._operator = OperatorProcess(self._arguments.kubeconfig, namespace, self._log, pod)
        return self._operator

    def _applies(
        self, numbers: range, way: Callable[[list[Pair]], None]
    ) -> Callable[[], dict[str, float | None]]:
        """Apply pairs; gives what tells, once all is settled, how soon each object was there."""
        spaces = self._namespaces
        pairs = [Pair(spaces[number % len(spaces)], number) for number in numbers]
        way(pairs)
        names = {pair.name for pair in pairs}
        return lambda: self._latencies(names)

    def _burst(self, pairs: list[Pair]) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(self._apply, pairs))

    def _one_by_one(self, pairs: list[Pair]) -> None:
        for pair in pairs:
            self._apply(pair)
            wait_for(pair.name, lambda: pair.name in self._seen.at["Deployment"])  # noqa: B023

    def _apply(self, pair: Pair) -> None:
        self._applied["build"][pair.name] = time.monotonic()
        self._api.apply(pair.path("enginebuilds"), pair.build())
        self._applied["deployment"][pair.name] = time.monotonic()
        self._api.apply(pair.path("inferencedeployments"), pair.deployment())

    def _settle(self, operator: OperatorProcess, count: int) -> float:
        """Wait until all is Ready and nothing is written any more; seconds until then."""
        began = time.monotonic()
        wait_for("all Ready", lambda: all(self._ready(p) >= count for p in _READY), _SETTLE_SECONDS)
        ready = round(time.monotonic() - began, 1)
        last: list[Any] = [None, time.monotonic()]

        def quiet() -> bool:
            writes = _known(operator).writes
            if writes != last[0]:
                last[:] = writes, time.monotonic()
            return bool(time.monotonic() - last[1] >= _QUIET_SECONDS)

        wait_for("an operator at rest", quiet, _SETTLE_SECONDS)
        return ready

    def _ready(self, path: str) -> int:
        return self._api.column(path, "Ready").count("True")

    def _idle(self, operator: OperatorProcess) -> dict[str, Any]:
        """What happens while nothing does."""
        before, versions, cpu = _known(operator), self._versions(), operator.cpu_seconds()
        time.sleep(self._arguments.idle_seconds)
        after, later = _known(operator), self._versions()
        return {
            "idle_s": self._arguments.idle_seconds,
            "idle_writes": after.writes - before.writes,
            "idle_reads": after.reads - before.reads,
            "idle_reconciles": after.all_reconciles - before.all_reconciles,
            "idle_objects_changed": len(dict(versions.items() ^ later.items())),
            "idle_cpu_s": round(operator.cpu_seconds() - cpu, 2),
        }

    def _versions(self) -> dict[str, str]:
        """The version of every object that the operator writes, by uid."""
        return {
            meta["uid"]: meta["resourceVersion"]
            for path in _WRITTEN
            for meta in self._api.metadata(path)
            if meta.get("namespace") in self._namespaces
        }

    def _restart(self, end: str) -> dict[str, Any]:
        """End it, start another: seconds from its exec until every resource was looked at.

        stop: it gives the lease up; crash: kill -9, and its container starts again in the same pod;
        loss: kill -9, and the next is another pod, which waits the lease out.
        """
        if end == "stop":
            self._operator.stop()
        else:
            self._operator.kill()
        total = self._arguments.builds + self._arguments.singles
        operator = self._start(self._operator.pod if end == "crash" else "")
        caught_up: list[float] = []

        def done() -> bool:
            counts = operator.counts()
            looked = list(counts.reconciles.values()) if counts and not counts.waiting else []
            if len(looked) == _KINDS and min(looked) >= total:
                caught_up.append(round(time.monotonic() - operator.began, 1))
            return bool(caught_up)

        wait_for("the restarted operator", done)
        counts = _known(operator)
        return {
            "after": end,
            "caught_up_s": caught_up[0],
            "reads": counts.reads,
            "writes": counts.writes,
            "reconciles": counts.all_reconciles,
            "cpu_s": operator.cpu_seconds(),
            "peak_mib": operator.peak_mib(),
        }

    def _spans(self, names: set[str]) -> dict[str, list[float]]:
        """Seconds to each object, sorted, by what is measured."""
        build, deployment = (
            {n: at for n, at in self._applied[of].items() if n in names}
            for of in ("build", "deployment")
        )
        return self._seen.spans(build, deployment)

    def _latencies(self, names: set[str]) -> dict[str, float | None]:
        spans = self._spans(names)
        return {
            f"{what}_p{percent}": percentile(values, percent)
            for what, values in spans.items()
            for percent in (50, 99)
        }

    def _at(self, index: int) -> dict[str, float | None]:
        return {
            what: curve(values, _PERCENTS)[index]
            for what, values in self._spans(set(self._burst_names())).items()
        }

    def _burst_names(self) -> list[str]:
        return [f"bench-{number}" for number in range(self._arguments.builds)]


def _known(operator: OperatorProcess) -> Counts:
    counts = operator.counts()
    return counts if counts is not None else Counts()


def _price(operator: OperatorProcess) -> Mapping[str, Any]:
    counts = _known(operator)
    return {
        "peak_mib": operator.peak_mib(),
        "cpu_s": operator.cpu_seconds(),
        "reconciles": counts.all_reconciles,
        "reads": counts.reads,
        "writes": counts.writes,
        "calls_a_reconcile": round((counts.reads + counts.writes) / counts.all_reconciles, 2),
    }
