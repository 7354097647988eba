"""Runs a GPU kernel on the CPU, by Triton's interpreter, as the driver would launch it."""

import lockstep  # noqa: F401

from nacelle_engine.ops.gpu.kernel import Kernel


def run(kernel: Kernel, arguments, **sizes):
    """Launch over tensors and numbers by name; `sizes`: T=..., R=... as the grid needs them."""
    assert list(arguments) == list(kernel.arguments), (list(arguments), list(kernel.arguments))
    grid = tuple(size.of(sizes) for size in kernel.grid)
    if all(grid):
        kernel.function[grid](**arguments, **kernel.constants)
