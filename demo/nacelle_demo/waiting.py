"""Waiting with a deadline: look, and look again, until it holds."""

import time
from collections.abc import Callable
from typing import TypeVar

from nacelle_demo.errors import DemoError

T = TypeVar("T")


def wait_for(what: str, look: Callable[[], T | None], *, deadline: float, pause: float = 0.5) -> T:
    """The first value that `look` gives which is neither None nor False; DemoError when late."""
    end = time.monotonic() + deadline
    while True:
        value = look()
        if value is not None and value is not False:
            return value
        if time.monotonic() > end:
            raise DemoError(f"waited {deadline:.0f} s for {what}")
        time.sleep(pause)
