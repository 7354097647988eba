"""What of a stream of activations decides its scale, kept in bounded memory.

AbsMax: max |x|. Percentile p: the smallest value that at least p percent of all |x| do not exceed,
from a histogram whose bins are bfloat16's numbers (a bin's upper edge is at most 2^-7 above any
value in it), and never above max |x|.
"""

from decimal import Decimal
from typing import Final

import torch

from nacelle_engine.calibration import DEFAULT_PERCENTILE, Calibration, CalibrationMethod

# bfloat16 is float32's upper half: all numbers from 0 to infinity.
_BINS: Final = 0x7F80 + 1
_DROPPED_BITS: Final = 16
# Percentages have at most four decimals: see Calibration.percentile.
_WHOLE: Final = 100 * 10**4


class Statistic:
    """The absolute values of one stream of activations."""

    def __init__(self, calibration: Calibration) -> None:
        self._largest: torch.Tensor | None = None
        self._counts: torch.Tensor | None = None
        self._share: int | None = None
        if calibration.method == CalibrationMethod.PERCENTILE:
            percentile = Decimal(calibration.percentile or DEFAULT_PERCENTILE)
            self._share = int(percentile * 10**4)

    def add(self, values: torch.Tensor) -> None:
        """Count a tensor of any shape and float type; nothing of it is kept."""
        magnitudes = values.detach().abs().flatten().to(torch.float32)
        largest = magnitudes.amax()
        self._largest = largest if self._largest is None else torch.maximum(self._largest, largest)
        if self._share is not None:
            bins = magnitudes.nan_to_num_().view(torch.int32) >> _DROPPED_BITS
            counts = torch.bincount(bins, minlength=_BINS)
            self._counts = counts if self._counts is None else self._counts + counts

    def value(self) -> float:
        """The value that stands for all; NaN or Inf when one was among them, 0 without any."""
        largest = 0.0 if self._largest is None else float(self._largest)
        if self._counts is None or self._share is None or not largest < float("inf"):
            return largest
        below = self._counts.cumsum(0)
        total = int(below[-1])
        wanted = -(-total * self._share // _WHOLE)
        index = int((below >= wanted).nonzero()[0])
        edge = torch.tensor((index + 1) << _DROPPED_BITS, dtype=torch.int32).view(torch.float32)
        # A stream of mostly zeros must not be cut to nothing.
        return min(float(edge), largest) if index else largest
