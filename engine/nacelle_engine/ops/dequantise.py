"""Dequantise FP8 weights at load: a plain C function of the kernels' library, no torch op.

out[n, k] = fp8[n, k] * scale[n], multiplied in float32 and rounded once to the compute type

weight [N, K] float8_e4m3fn without NaN, scale [N] float32; out [N, K] bfloat16 or float32.
"""

import ctypes

import torch


def dequantise(
    library: ctypes.CDLL, weight: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """The formula, by the library's kernel; ValueError when shapes or types do not fit."""
    rows, columns = weight.shape
    if weight.dtype != torch.float8_e4m3fn or tuple(scale.shape) != (rows,):
        raise ValueError(
            f"weight {weight.dtype} {list(weight.shape)} with a scale {list(scale.shape)}; "
            f"float8_e4m3fn [N, K] goes with a scale [N]"
        )
    if dtype not in (torch.bfloat16, torch.float32):
        raise ValueError(f"{dtype}: weights are dequantised to bfloat16 or float32")
    weight, scale = weight.contiguous(), scale.float().contiguous()
    out = torch.empty(rows, columns, dtype=dtype)
    library.nacelle_dequantise(
        ctypes.c_void_p(weight.data_ptr()),
        ctypes.c_void_p(scale.data_ptr()),
        ctypes.c_void_p(out.data_ptr()),
        ctypes.c_int64(rows),
        ctypes.c_int64(columns),
        ctypes.c_int32(dtype == torch.bfloat16),
        ctypes.c_int32(torch.get_num_threads()),
    )
    return out


def reference(weight: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The formula in float32."""
    return (weight.float() * scale.float()[:, None]).to(dtype)
