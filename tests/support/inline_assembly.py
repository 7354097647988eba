"""Lets Triton 3.6's interpreter run inline assembly, which it leaves out: import it for its effect.

Here are the few PTX instructions that the kernels use.
"""

import re

import numpy as np
import triton.language as tl
from exact_interpreter import convert
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle


def _permute(low, high, selector):
    data = (high.astype(np.uint64) << 32) | low
    chosen = [(data >> (8 * (selector >> 4 * i & 7))) & 0xFF for i in range(4)]
    return sum(byte << (8 * i) for i, byte in enumerate(chosen)).astype(np.uint32)


def _look_up(a, b, c, table):
    bits = [((table >> row) & 1, row >> 2 & 1, row >> 1 & 1, row & 1) for row in range(8)]
    picked = np.zeros_like(a)
    for one, *inputs in bits:
        if one:
            sides = zip((a, b, c), inputs, strict=True)
            picked |= np.bitwise_and.reduce([side if bit else ~side for side, bit in sides])
    return picked


def _fma_pairs(a, b, c):
    a, b, c = (
        convert(side.view(np.uint16), tl.bfloat16, tl.float32).view(np.float32)
        for side in (a, b, c)
    )
    return convert(a * b + c, tl.float32, tl.bfloat16).view(np.uint32)


PTX = {
    "mov.b32": lambda a: a,
    "and.b32": lambda a, b: a & b,
    "shl.b32": lambda a, b: a << b,
    "shr.u32": lambda a, b: a >> b,
    "prmt.b32": lambda a, b, c: _permute(a, b, int(c.flat[0])),
    "lop3.b32": lambda a, b, c, d: _look_up(a, b, c, int(d.flat[0])),
    "fma.rn.bf16x2": _fma_pairs,
}


class _Outputs(list):
    get_result = list.__getitem__


def _inline_asm(self, asm, constraints, values, types, is_pure, pack):
    """What a register of codes becomes: all that the kernels ask for.

    Four bytes (pack 4) become one tensor of 16-bit numbers, two words (pack 2) two of them.
    """
    (value,) = values
    assert constraints == "=r,=r,r" and pack * value.data.dtype.itemsize == 4
    packed = np.ascontiguousarray(value.data).reshape(-1).view(np.uint32)
    registers = {"$2": packed}
    for line in asm.strip("{} \n").splitlines():
        name, _, operands = line.strip(" ;").partition(" ")
        if name and name != ".reg":
            target, *sources = re.split(r",\s*", operands)
            registers[target] = PTX[name](
                *(
                    registers[source]
                    if source in registers
                    else np.full(packed.shape, int(source, 0), np.uint32)
                    for source in sources
                )
            )
    found = [registers["$0"], registers["$1"]]
    if pack == 4:
        found = [np.stack(found, -1)]
    return _Outputs(
        TensorHandle(
            _of_type(each.view(np.uint16).reshape(value.data.shape), kind.scalar), kind.scalar
        )
        for each, kind in zip(found, types, strict=True)
    )


def _of_type(bits, kind):
    """16-bit numbers as the interpreter holds them: bfloat16 as bits, float16 as numbers."""
    return bits if kind == tl.bfloat16 else bits.view(np.float16)


InterpreterBuilder.create_inline_asm = _inline_asm
