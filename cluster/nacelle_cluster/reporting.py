"""Telling a person how far a long command is."""

import time
from collections.abc import Callable

Report = Callable[[str], None]


def stopwatch(prefix: str = "") -> Report:
    """A report that prints each step with the seconds since the first."""
    begun = time.monotonic()
    return lambda step: print(f"{prefix}{time.monotonic() - begun:7.1f} s  {step}", flush=True)
