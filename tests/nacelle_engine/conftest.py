"""The kernels' library for the tests of operations and programs."""

from cpu_kernels import kernels

__all__ = ["kernels"]
