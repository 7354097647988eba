"""When each object was seen first: a thread for every kind, from a watch of metadata."""

import contextlib
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from nacelle_bench.operator_api import Api
from nacelle_engine.errors import TemporaryError
from nacelle_operator.objects import names

_SELECTOR: Final = f"{names.MANAGED_BY}={names.FIELD_MANAGER}"


_JOBS: Final = "/apis/batch/v1/jobs"

# What is seen -> its collection, the labels that it has, and the label that names what it is of.
_KINDS: Final[Mapping[str, tuple[str, str, str]]] = {
    "prepare Job": (_JOBS, f"{_SELECTOR},{names.STEP}={names.PREPARE}", names.BUILD),
    "build Job": (_JOBS, f"{_SELECTOR},{names.STEP}={names.BUILD_STEP}", names.BUILD),
    "Engine": ("/apis/nacelle.dev/v1alpha1/engines", "", names.BUILD),
    "Deployment": ("/apis/apps/v1/deployments", _SELECTOR, names.DEPLOYMENT),
}
# Each span, and from what to what it is measured.
SPANS: Final[Mapping[str, str]] = {
    "prepare_job": "EngineBuild applied to its first Job, which holds no GPU",
    "build_job": "EngineBuild applied to its second Job, with the GPU, the first one between",
    "deployment": "InferenceDeployment applied to its Deployment, both Jobs between",
    "engine_to_deployment": "Engine recorded to the Deployment that serves it",
}


class Seen:
    """Monotonic seconds at which the first object of a kind was seen, by its build's name."""

    def __init__(self, api: Api) -> None:
        self.at: dict[str, dict[str, float]] = {kind: {} for kind in _KINDS}
        self.ended = threading.Event()
        for kind in _KINDS:
            threading.Thread(target=self._watch, args=(api, kind), daemon=True).start()

    def _watch(self, api: Api, kind: str) -> None:
        path, selector, label = _KINDS[kind]
        while not self.ended.is_set():
            # A server that has just begun to serve a kind asks for patience.
            with contextlib.suppress(TemporaryError):
                for meta in api.names_seen(path, selector):
                    name = str(meta.get("labels", {}).get(label, ""))
                    self.at[kind].setdefault(name, time.monotonic())
            self.ended.wait(0.2)

    def spans(
        self, builds: Mapping[str, float], deployments: Mapping[str, float]
    ) -> dict[str, list[float]]:
        """Seconds of each of SPANS, sorted, of what was applied at these moments and seen."""
        engines = {n: at for n, at in self.at["Engine"].items() if n in deployments}
        return {
            "prepare_job": self._since("prepare Job", builds),
            "build_job": self._since("build Job", builds),
            "deployment": self._since("Deployment", deployments),
            "engine_to_deployment": self._since("Deployment", engines),
        }

    def _since(self, kind: str, began: Mapping[str, float]) -> list[float]:
        # Watches are not in step: what was seen of two could be seen the other way round.
        at = self.at[kind]
        return sorted(max(0.0, at[name] - moment) for name, moment in began.items() if name in at)


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The value that `percent` of the sorted values do not exceed; None of none."""
    if not values:
        return None
    return round(values[min(len(values) - 1, int(len(values) * percent / 100))], 3)


def curve(values: Sequence[float], percents: Iterable[int]) -> list[float | None]:
    """The percentiles of the sorted values."""
    return [percentile(values, percent) for percent in percents]
