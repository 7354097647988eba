"""FP8 E4M3 weights with one scale an output channel.

scale[o] = max_i |w[o, i]| / 448        float32 [out]
q[o, i]  = e4m3(w[o, i] / scale[o])     float8_e4m3fn [out, in], rounded to nearest even
A row of zeros gets scale 1, so that nothing divides by 0.
"""

from dataclasses import dataclass
from typing import Final

import torch

# The largest finite E4M3 number ("fn": no infinities).
E4M3_MAX: Final = 448.0


@dataclass(frozen=True)
class QuantizedLinear:
    """A linear's weight [out, in] in E4M3 and its scales [out]."""

    weight: torch.Tensor
    per_channel_scale: torch.Tensor


def quantize_per_channel(weight: torch.Tensor) -> QuantizedLinear:
    """Quantise a weight [out, in] of any float type."""
    full = weight.to(torch.float32)
    amax = full.abs().amax(dim=1)
    scale = torch.where(amax > 0, amax / E4M3_MAX, torch.ones_like(amax))
    # The division can land a hair above 448, which E4M3 would turn into NaN.
    scaled = (full / scale[:, None]).clamp(-E4M3_MAX, E4M3_MAX)
    return QuantizedLinear(scaled.to(torch.float8_e4m3fn), scale)


def dequantize(weight: torch.Tensor, per_channel_scale: torch.Tensor) -> torch.Tensor:
    """The float32 weight [out, in] that a quantised linear stands for."""
    return weight.to(torch.float32) * per_channel_scale[:, None]
