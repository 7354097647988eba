"""The core's figures in Prometheus' text format; docs/runtime.md lists the names."""

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from nacelle_runtime.wire import Histogram, Stats


def exposition(stats: Stats, model: str) -> bytes:
    """All metrics, each labelled with the model's name."""
    registry = CollectorRegistry()
    registry.register(_Snapshot(stats, model))
    return generate_latest(registry)


class _Snapshot(Collector):
    def __init__(self, stats: Stats, model: str) -> None:
        self._stats = stats
        self._labels = {"model": model}

    def collect(self) -> Iterator[Metric]:
        s = self._stats
        yield self._gauge("requests_waiting", "Requests in the queue", s.waiting)
        yield self._gauge("requests_running", "Requests that steps run", s.running)
        yield self._gauge("kv_blocks_total", "Blocks of the KV cache", s.kv_blocks_total)
        yield self._gauge("kv_blocks_used", "Blocks that requests hold", s.kv_blocks_used)
        yield self._gauge("kv_blocks_idle", "Blocks kept for their content alone", s.kv_blocks_idle)
        yield self._counter("prompt_tokens", "Prompt tokens taken in", s.prompt_tokens)
        yield self._counter(
            "prefix_asked_tokens", "Prompt tokens of admitted requests", s.prefix_asked_tokens
        )
        yield self._counter(
            "prefix_hit_tokens", "Of these, tokens found in the cache", s.prefix_hit_tokens
        )
        yield self._counter("generated_tokens", "Tokens drawn", s.generated_tokens)
        yield self._counter("preemptions", "Times a request was put back", s.preemptions)
        yield self._counter("steps", "Steps of the engine", s.steps)
        yield self._counter(
            "device_seconds", "From the end of one step to the end of the next", s.device_seconds
        )
        yield self._counter(
            "device_idle_seconds",
            "Of these, seconds that the device waited for the host",
            s.device_idle_seconds,
        )
        yield self._finished()
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

    def _gauge(self, name: str, text: str, value: int) -> Metric:
        family = GaugeMetricFamily(f"nacelle_{name}", text, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), value)
        return family

    def _counter(self, name: str, text: str, value: float) -> Metric:
        family = CounterMetricFamily(f"nacelle_{name}", text, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), value)
        return family

    def _finished(self) -> Metric:
        family = CounterMetricFamily(
            "nacelle_requests",
            "Requests that ended: stop, length, cancelled or refused",
            labels=[*self._labels, "outcome"],
        )
        for outcome in ("stop", "length", "cancelled", "refused"):
            family.add_metric(
                [*self._labels.values(), outcome], self._stats.finished.get(outcome, 0)
            )
        return family

    def _histogram(self, name: str, text: str, values: Histogram) -> Metric:
        family = HistogramMetricFamily(f"nacelle_{name}", text, labels=list(self._labels))
        bounds = [*(f"{bound:g}" for bound in values.bounds), "+Inf"]
        family.add_metric(
            list(self._labels.values()),
            list(zip(bounds, accumulate(values.counts), strict=True)),
            values.total,
        )
        return family
