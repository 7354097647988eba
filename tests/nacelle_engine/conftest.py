"""The kernels' library for the tests of operations and programs."""

from cpu_kernels import kernels, library_of

__all__ = ["kernels", "library_of"]
