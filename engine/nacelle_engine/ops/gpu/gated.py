"""The gated activation: act(gate) * up, with silu or gelu_tanh.

silu(g) = g / (1 + exp(-g)); gelu_tanh(g) = g / 2 * (1 + tanh(z)),
z = sqrt(2 / pi) (g + 0.044715 g^3)
"""

from typing import Literal

import torch
import triton
import triton.language as tl

Activation = Literal["silu", "gelu_tanh"]
_TWICE_SQRT_2_OVER_PI = tl.constexpr(1.5957691216057308)


@triton.jit
def gated(gate, up, GELU: tl.constexpr):
    """act(gate) * up in float32; silu unless GELU."""
    if GELU:
        # (1 + tanh(z)) / 2 is the logistic function of 2 z.
        inner = gate + 0.044715 * gate * gate * gate
        result = gate * tl.sigmoid(_TWICE_SQRT_2_OVER_PI * inner) * up
    else:
        result = gate * tl.sigmoid(gate) * up
    return result


def gated_reference(products: torch.Tensor, activation: Activation) -> torch.Tensor:
    """act(gate) * up [T, I] of products [T, 2 I] in float32: gate columns, then up columns."""
    gate, up = products.chunk(2, dim=-1)
    if activation == "silu":
        return torch.nn.functional.silu(gate) * up
    return torch.nn.functional.gelu(gate, approximate="tanh") * up
