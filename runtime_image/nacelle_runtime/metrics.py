"""The core's figures in Prometheus' text format; docs/runtime.md lists the names."""

from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from nacelle_runtime.figures import Figure, figures
from nacelle_runtime.wire import Histogram, Ready, Stats


def exposition(stats: Stats, ready: Ready, model: str, ours: Iterable[Figure] = ()) -> bytes:
    """All metrics; `model` is the name that clients know, `ours` are the frontend's own figures."""
    registry = CollectorRegistry()
    registry.register(_Snapshot(stats, ready, model, tuple(ours)))
    return generate_latest(registry)


class _Snapshot(Collector):
    def __init__(self, stats: Stats, ready: Ready, model: str, ours: tuple[Figure, ...]) -> None:
        self._stats = stats
        self._ready = ready
        self._labels = {"model": model}
        self._ours = ours

    def collect(self) -> Iterator[Metric]:
        s = self._stats
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for figure in (*figures(s, self._ready, self._labels["model"]), *self._ours):
            family = families.setdefault(figure.name, _family(figure))
            family.add_metric(list(figure.labels.values()), figure.value)
        yield from families.values()
        yield self._histogram(
            "time_to_first_token_seconds",
            "From a request's arrival in the frontend to its first token in the core",
            s.time_to_first_token,
        )
        yield self._histogram(
            "inter_token_latency_seconds",
            "Between a request's tokens in the core",
            s.inter_token_latency,
        )
        yield self._histogram("step_seconds", "One step of the engine", s.step_seconds)

    def _histogram(self, name: str, text: str, values: Histogram) -> Metric:
        family = HistogramMetricFamily(f"nacelle_{name}", text, labels=list(self._labels))
        bounds = [*(f"{bound:g}" for bound in values.bounds), "+Inf"]
        family.add_metric(
            list(self._labels.values()),
            list(zip(bounds, accumulate(values.counts), strict=True)),
            values.total,
        )
        return family


def _family(figure: Figure) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if figure.counts else GaugeMetricFamily
    return kind(figure.name, figure.text, labels=list(figure.labels))
