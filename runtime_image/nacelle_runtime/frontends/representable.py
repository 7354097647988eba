"""Sampling in numbers that the core's arithmetic can hold, its meaning unchanged."""

from dataclasses import replace

from nacelle_runtime.request import COLDEST, NARROWEST, Sampling


def representable(sampling: Sampling) -> Sampling:
    """The same draw: a temperature too small is 0, and top_p is never lost in a product."""
    return replace(
        sampling,
        temperature=sampling.temperature if sampling.temperature >= COLDEST else 0.0,
        top_p=max(sampling.top_p, NARROWEST),
    )
