"""Figures as people read them."""


def count(value: int) -> str:
    """1234567 -> 1,234,567."""
    return f"{value:,}"


def size(value: float) -> str:
    """Bytes with three digits that count: 1,536 bytes are 1.54 kB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= scale:
            return f"{_three(value / scale)} {unit}"
    return f"{value:.0f} bytes"


def microseconds(value: float) -> str:
    """A time given in microseconds, with its unit."""
    return f"{_three(value / 1000)} ms" if value >= 1000 else f"{_three(value)} us"


def span(first: int, last: int | None) -> str:
    """A range with both ends included; None: without an end."""
    if last is None:
        return f"{count(first)} and more"
    return count(first) if first == last else f"{count(first)} to {count(last)}"


def _three(value: float) -> str:
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}"
