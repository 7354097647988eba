"""Waiting for a condition, never without a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

from nacelle_cluster.errors import ClusterError

T = TypeVar("T")


def wait_for(
    what: str,
    probe: Callable[[], T | None],
    seconds: float,
    *,
    explain: Callable[[], str] = lambda: "",
    every: float = 0.1,
) -> T:
    """The first true answer of `probe`; after `seconds`, an error naming `what` and `explain()`."""
    deadline = time.monotonic() + seconds
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise ClusterError(f"{what}: not after {seconds:.0f} s\n{explain()}".rstrip())
        time.sleep(every)
