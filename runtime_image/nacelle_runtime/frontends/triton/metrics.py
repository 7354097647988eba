"""The core's figures among Triton's own metrics, asked for once a second."""

import asyncio
from typing import Any

import triton_python_backend_utils as triton

from nacelle_runtime.client import CoreLost
from nacelle_runtime.figures import Figure, figures
from nacelle_runtime.frontends.triton.errors import NotAnswered
from nacelle_runtime.frontends.triton.link import CoreLink

_PERIOD = 1.0
_Key = tuple[str, tuple[tuple[str, str], ...]]


async def publish(link: CoreLink, model: str) -> None:
    """Keep Triton's metrics at the core's figures; a core that is away leaves them as they were."""
    published = Published()
    while True:
        try:
            client, ready = link.client, link.ready
            stats = await client.stats()
        except (NotAnswered, CoreLost):
            pass  # until it is back
        else:
            for figure in figures(stats, ready, model):
                published.set(figure)
        await asyncio.sleep(_PERIOD)


class Published:
    """Triton's metrics by name and labels."""

    def __init__(self) -> None:
        self._families: dict[str, Any] = {}
        self._metrics: dict[_Key, Any] = {}
        self._last: dict[_Key, float] = {}

    def set(self, figure: Figure) -> None:
        """Bring one to its value; a counter goes on where it was when a new core begins at 0."""
        key = figure.name, tuple(figure.labels.items())
        metric = self._metric(key, figure)
        if not figure.counts:
            metric.set(float(figure.value))
            return
        last = self._last.get(key, 0.0)
        metric.increment(float(figure.value - last if figure.value >= last else figure.value))
        self._last[key] = figure.value

    def _metric(self, key: _Key, figure: Figure) -> Any:
        if key not in self._metrics:
            if figure.name not in self._families:
                kind = triton.MetricFamily.COUNTER if figure.counts else triton.MetricFamily.GAUGE
                self._families[figure.name] = triton.MetricFamily(
                    name=figure.name, description=figure.text, kind=kind
                )
            self._metrics[key] = self._families[figure.name].Metric(labels=dict(figure.labels))
        return self._metrics[key]
