"""When each object was seen first: a thread for every kind, from a watch of metadata."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from nacelle_bench.operator_api import Api, Manifest
from nacelle_engine.errors import TemporaryError
from nacelle_operator.objects import names

_SELECTOR: Final = f"{names.MANAGED_BY}={names.FIELD_MANAGER}"


def _label(label: str) -> Callable[[Manifest], str]:
    return lambda meta: str(meta.get("labels", {}).get(label, ""))


# Kind -> its collection, and which build or deployment an object of it is of.
_KINDS: Final[Mapping[str, tuple[str, str, Callable[[Manifest], str]]]] = {
    "Job": ("/apis/batch/v1/jobs", _SELECTOR, _label(names.BUILD)),
    "Engine": ("/apis/nacelle.dev/v1alpha1/engines", "", _label(names.BUILD)),
    "Deployment": ("/apis/apps/v1/deployments", _SELECTOR, _label(names.DEPLOYMENT)),
}


class Seen:
    """Monotonic seconds at which the first object of a kind was seen, by its build's name."""

    def __init__(self, api: Api) -> None:
        self.at: dict[str, dict[str, float]] = {kind: {} for kind in _KINDS}
        self.ended = threading.Event()
        for kind in _KINDS:
            threading.Thread(target=self._watch, args=(api, kind), daemon=True).start()

    def _watch(self, api: Api, kind: str) -> None:
        path, selector, name_of = _KINDS[kind]
        while not self.ended.is_set():
            # A server that has just begun to serve a kind asks for patience.
            with contextlib.suppress(TemporaryError):
                for meta in api.names_seen(path, selector):
                    self.at[kind].setdefault(name_of(meta), time.monotonic())
            self.ended.wait(0.2)

    def since(self, kind: str, began: Mapping[str, float]) -> list[float]:
        """Seconds from each beginning to the kind's object, sorted; of those that were seen."""
        at = self.at[kind]
        return sorted(at[name] - moment for name, moment in began.items() if name in at)


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The value that `percent` of the sorted values do not exceed; None of none."""
    if not values:
        return None
    return round(values[min(len(values) - 1, int(len(values) * percent / 100))], 3)


def curve(values: Sequence[float], percents: Iterable[int]) -> list[float | None]:
    """The percentiles of the sorted values."""
    return [percentile(values, percent) for percent in percents]
