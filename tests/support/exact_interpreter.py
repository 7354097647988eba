"""Makes Triton 3.6's interpreter convert and multiply as GPUs do; import it for its effect.

As it comes, it cuts fp32 to bf16 off instead of rounding, loses the carry of a rounded mantissa
(127.9 becomes 64 in E4M3), and multiplies bf16 matrices as if their bits were integers.
"""

import numpy as np
import torch
import triton.language as tl
from triton.runtime import interpreter
from triton.runtime.interpreter import TensorHandle

TYPES = {
    tl.float32: torch.float32,
    tl.float16: torch.float16,
    tl.bfloat16: torch.bfloat16,
    tl.float8e4nv: torch.float8_e4m3fn,
}
BITS = {8: (np.uint8, torch.uint8), 16: (np.uint16, torch.uint16), 32: (np.uint32, torch.uint32)}


def convert(array, source, target, _rounding_mode=None):
    """The bits of `array` rounded to the nearest of the target type, ties to even."""
    unsigned, _ = BITS[source.primitive_bitwidth]
    bits = np.ascontiguousarray(array).view(unsigned).copy()
    values = torch.from_numpy(bits).view(TYPES[source]).to(TYPES[target])
    _, unsigned = BITS[target.primitive_bitwidth]
    return values.view(unsigned).numpy().reshape(array.shape)


def dot(self, a, b, d, _input_precision, _max_num_imprecise_acc):
    """a @ b + d in fp32, the product rounded to it once.

    A BLAS sums rows at a tile's edge in another order than others, and each CPU's does it its own
    way, where a GPU's tiles are all alike. In fp64 the order hardly matters: products of bf16 have
    16 bits, and their sums are exact.
    """
    a, b = (
        convert(x.data, x.dtype.scalar, tl.float32).view(np.float32)
        if x.dtype.scalar != tl.float32
        else x.data
        for x in (a, b)
    )
    product = np.matmul(a, b, dtype=np.float64).astype(np.float32)
    return TensorHandle(product + d.data, d.dtype.scalar)


interpreter._convert_float = convert
interpreter.InterpreterBuilder.create_dot = dot
