"""How a stage tells its progress: percent of itself alone, and a sentence for people."""

from collections.abc import Callable

Report = Callable[[int, str], None]
