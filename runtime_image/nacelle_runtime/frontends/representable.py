"""Sampling in numbers that the core's arithmetic can hold, its meaning unchanged."""

from dataclasses import replace

from nacelle_runtime.request import Sampling

# Below it a temperature is 0 in float32; the draw there is greedy long before.
_COLDEST = 1e-30
# Below it top_p keeps the one likeliest token, whatever it is: no vocabulary has 1e9 ids.
_NARROWEST = 1e-9


def representable(sampling: Sampling) -> Sampling:
    """The same draw: a temperature too small is 0, and top_p is never lost in a product."""
    return replace(
        sampling,
        temperature=sampling.temperature if sampling.temperature >= _COLDEST else 0.0,
        top_p=max(sampling.top_p, _NARROWEST),
    )
