"""FP8 E4M3 weights with one scale an output channel, or one scale a tensor.

per channel  scale[o] = max_i |w[o, i]| / 448      float32 [out]
per tensor   scale    = max |w| / 448              float32 [1]
q[o, i] = e4m3(w[o, i] / scale)                    float8_e4m3fn [out, in], rounded to nearest even
A row (a tensor) of zeros gets scale 1, so that nothing divides by 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch

# The largest finite E4M3 number ("fn": no infinities).
E4M3_MAX: Final = 448.0


@dataclass(frozen=True)
class QuantizedLinear:
    """A linear's weight [out, in] in E4M3 and its scales: [out] per channel, [1] per tensor."""

    weight: torch.Tensor
    scale: torch.Tensor


def quantize_per_channel(weight: torch.Tensor) -> QuantizedLinear:
    """Quantise a weight [out, in] of any float type, each row by itself."""
    full = weight.to(torch.float32)
    scale = scale_of(full.abs().amax(dim=1))
    return QuantizedLinear(to_e4m3(full / scale[:, None]), scale)


def quantize_per_tensor(weight: torch.Tensor, scale: torch.Tensor | None = None) -> QuantizedLinear:
    """Quantise a weight [out, in] of any float type as a whole; `scale` [1] where it shares one."""
    full = weight.to(torch.float32)
    if scale is None:
        scale = scale_of(full.abs().amax().reshape(1))
    return QuantizedLinear(to_e4m3(full / scale), scale)


def join_per_tensor(
    parts: Sequence[QuantizedLinear], scale: torch.Tensor | None = None
) -> QuantizedLinear:
    """Join linears along their outputs: all get the largest scale (or a larger one), and only the
    others' weights are rounded once more."""
    if scale is None:
        scale = torch.stack([part.scale for part in parts]).amax(dim=0)
    weights = [
        part.weight
        if torch.equal(part.scale, scale)
        else to_e4m3(part.weight.to(torch.float32) * (part.scale / scale))
        for part in parts
    ]
    return QuantizedLinear(torch.cat(weights), scale)


def dequantize(weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The float32 weight [out, in] that a quantised linear stands for; scale [out] or [1]."""
    return weight.to(torch.float32) * scale[:, None]


def scale_of(amax: torch.Tensor) -> torch.Tensor:
    """The scale that puts an absolute value at E4M3's largest number; 1 for 0."""
    return torch.where(amax > 0, amax / E4M3_MAX, torch.ones_like(amax))


def to_e4m3(values: torch.Tensor) -> torch.Tensor:
    """Values rounded to E4M3, those beyond its range cut to its largest number."""
    # A division can land a hair above 448, which E4M3 would turn into NaN.
    return values.clamp(-E4M3_MAX, E4M3_MAX).to(torch.float8_e4m3fn)
