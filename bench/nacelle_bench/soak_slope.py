"""Whether a quantity grows: the slope of a line through its samples, and how sure it is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

# Samples that follow each other are alike: means of long stretches are less so.
_STRETCHES = 10
# Two standard errors, of eight degrees of freedom: Student's t for 95 %.
_SURE = 2.306


@dataclass(frozen=True)
class Slope:
    """By hour; `error` is half the 95 % interval's width."""

    value: float
    error: float

    @property
    def grows(self) -> bool:
        """True when the whole interval lies above 0."""
        return self.value - self.error > 0


def slope(seconds: Sequence[float], values: Sequence[float]) -> Slope:
    """The least-squares line through ten means of a quantity over time.

    ValueError where there are fewer than ten samples.

    slope = sum((t - mean t) (y - mean y)) / S with S = sum((t - mean t)^2), and its standard error
    is sqrt(sum(residual^2) / (n - 2) / S) with n = 10.
    """
    if len(values) < _STRETCHES:
        raise ValueError(f"{len(values)} samples; at least {_STRETCHES}")
    t, y = _means(seconds), _means(values)
    middle, level = fmean(t), fmean(y)
    spread = math.fsum((a - middle) ** 2 for a in t)
    found = math.fsum((a - middle) * (b - level) for a, b in zip(t, y, strict=True)) / spread
    residuals = (b - level - found * (a - middle) for a, b in zip(t, y, strict=True))
    variance = math.fsum(one**2 for one in residuals) / (_STRETCHES - 2)
    return Slope(3600 * found, 3600 * _SURE * math.sqrt(variance / spread))


def _means(values: Sequence[float]) -> list[float]:
    count = len(values)
    edges = [round(count * n / _STRETCHES) for n in range(_STRETCHES + 1)]
    return [fmean(values[a:b]) for a, b in pairwise(edges)]
