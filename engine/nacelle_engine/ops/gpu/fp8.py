"""FP8 E4M3: the largest value, and how rows of activations become FP8 or stay bf16.

Per token: s[t] = max over k of |y[t, k]| / 448, 1 where that is 0, and q = e4m3(y * (1 / s)).
Static: q = e4m3(clamp(y * (1 / static_scale))).
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu.capability import require_fp8
from nacelle_engine.precision import QuantizationAlgorithm

LARGEST = 448.0
_LARGEST = tl.constexpr(LARGEST)


@dataclass(frozen=True)
class Output:
    """What an op gives: bf16 (NONE), or FP8 with one static scale or a scale per token."""

    algorithm: QuantizationAlgorithm
    architecture: Architecture = Architecture.SM_90

    def __post_init__(self) -> None:
        if self.algorithm is not QuantizationAlgorithm.NONE:
            require_fp8(self.architecture, "quantization.algorithm")

    @property
    def whole_rows(self) -> bool:
        """True where a program must see all of a row: its scale needs the row's largest value."""
        return self.algorithm is QuantizationAlgorithm.FP8_PER_CHANNEL_PER_TOKEN

    @property
    def name(self) -> str:
        """A part of kernels' names."""
        return {"NONE": "bf16", "FP8": "static"}.get(self.algorithm.value, "token")

    @property
    def arguments(self) -> dict[str, str | None]:
        """static_scale, out and row_scale: name -> Triton's type, None where absent."""
        static = self.algorithm is QuantizationAlgorithm.FP8
        return {
            "static_scale": "*fp32" if static else None,
            "out": "*fp8e4nv" if static or self.whole_rows else "*bf16",
            "row_scale": "*fp32" if self.whole_rows else None,
        }


@triton.jit
def to_fp8(x, pointer):
    """x (fp32) clamped to what E4M3 can hold, in the pointer's element type; NaN stays NaN."""
    bounded = tl.clamp(x, -_LARGEST, _LARGEST, propagate_nan=tl.PropagateNan.ALL)
    return bounded.to(pointer.dtype.element_ty)


@triton.jit
def token_scale(largest):
    """A token's scale by its largest magnitude: 1 where that is 0."""
    scale = largest / _LARGEST
    return tl.where(scale == 0.0, 1.0, scale)


@triton.jit
def emit(y, out, columns, live, token, static_scale, row_scale, K: tl.constexpr):
    """Store columns of row `token` of out [T, K]: FP8 where a scale is given, else bf16.

    y: fp32, 0 where not live. For row_scale fp32 [T], y must be the whole row.
    """
    if row_scale is not None:
        scale = token_scale(tl.max(tl.abs(y), 0))
        tl.store(row_scale + token, scale)
        kept = to_fp8(y * (1.0 / scale), out)
    elif static_scale is not None:
        kept = to_fp8(y * (1.0 / tl.load(static_scale)), out)
    else:
        kept = y.to(out.dtype.element_ty)
    tl.store(out + token.to(tl.int64) * K + columns, kept, mask=live)


def reference(
    y: torch.Tensor, output: Output, static_scale: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(out, row_scale [T] where there is one) of y [T, K] in float32."""
    if output.algorithm is QuantizationAlgorithm.NONE:
        return y.bfloat16(), None
    if static_scale is not None:
        return (y * (1.0 / static_scale)).clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn), None
    scale = y.abs().amax(-1) / LARGEST
    scale = torch.where(scale == 0, 1.0, scale)
    quantised = (y * (1.0 / scale)[:, None]).clamp(-LARGEST, LARGEST)
    return quantised.to(torch.float8_e4m3fn), scale
