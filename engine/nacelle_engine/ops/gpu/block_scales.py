"""FP8 activations with one scale per token and block of columns, and how a tile becomes such.

s[b, t] = max over the block's k of |y[t, k]| / 448, 1 where that is 0;
codes[t, k] = e4m3(y[t, k] * (1 / s[b, t])).
Scales are fp32 [blocks, 256], a row a block: their stride is the most tokens of a step. A residual
stream x is kept as codes of x * norm, the factor 1 / rms of the norm left out, and the sums of
squares [blocks, 256] of each block that the factor takes.
"""

import torch
import triton
import triton.language as tl

from nacelle_engine.ops.gpu.fp8 import LARGEST, to_fp8

COLUMNS = 128
MOST_TOKENS = 256
BLOCK = tl.constexpr(COLUMNS)
STRIDE = tl.constexpr(MOST_TOKENS)
_LARGEST = tl.constexpr(LARGEST)


@triton.jit
def emit_codes(y, codes, scales, block, tokens, T, WIDTH: tl.constexpr):
    """Store y [BLOCK, tokens] (fp32) as block `block` of codes [T, WIDTH], and its scales."""
    scale = tl.max(tl.abs(y), 0) / _LARGEST
    scale = tl.where(scale == 0.0, 1.0, scale)
    tl.store(scales + block * STRIDE + tokens, scale, mask=tokens < T)
    columns = block * BLOCK + tl.arange(0, BLOCK)
    pointers = codes + tokens.to(tl.int64)[None, :] * WIDTH + columns[:, None]
    tl.store(pointers, to_fp8(y * (1.0 / scale)[None, :], codes), mask=(tokens < T)[None, :])


@triton.jit
def emit_stream(x, norm, codes, scales, squares, block, tokens, T, WIDTH: tl.constexpr):
    """Store what the next norm and projection need of x [BLOCK, tokens], its values in fp32.

    norm [BLOCK]: the norm's weights for these columns.
    """
    tl.store(squares + block * STRIDE + tokens, tl.sum(x * x, 0), mask=tokens < T)
    emit_codes(x * norm[:, None], codes, scales, block, tokens, T, WIDTH)


@triton.jit
def load_squares(squares, tokens, WIDTH: tl.constexpr):
    """The blocks' sums of squares [blocks, tokens] of rows of WIDTH elements."""
    BLOCKS: tl.constexpr = triton.next_power_of_2(WIDTH // BLOCK)
    block = tl.arange(0, BLOCKS)[:, None]
    pointers = squares + block * STRIDE + tokens[None, :]
    return tl.load(pointers, mask=block < WIDTH // BLOCK, other=0.0)


def quantised(y: torch.Tensor, columns: int = COLUMNS) -> tuple[torch.Tensor, torch.Tensor]:
    """Reference: codes [T, K] and scales [K / columns, T] of y [T, K] in float32."""
    blocks = y.unflatten(-1, (-1, columns))
    scales = blocks.abs().amax(-1) / LARGEST
    scales = torch.where(scales == 0, 1.0, scales)
    codes = (blocks * (1.0 / scales)[..., None]).clamp(-LARGEST, LARGEST)
    return codes.flatten(1).to(torch.float8_e4m3fn), scales.T


def dequantised(codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Reference: values [T, K] in float32 of codes [T, K] and scales [blocks, at least T]."""
    tokens, width = codes.shape
    each = scales[:, :tokens].T.float().repeat_interleave(width // len(scales), dim=1)
    return codes.float() * each


def stream(x: torch.Tensor, norm: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Reference: codes, scales and squares [blocks, T] of x [T, K] bf16 before this norm."""
    wide = x.float()
    squares = wide.square().unflatten(-1, (-1, COLUMNS)).sum(-1).T
    return *quantised(wide * norm.float()), squares


def inverse_rms(squares: torch.Tensor, tokens: int, width: int, eps: float) -> torch.Tensor:
    """Reference: 1 / rms [T, 1] of a stream's rows of `width` elements."""
    return torch.rsqrt(squares[:, :tokens].sum(0) / width + eps)[:, None]
