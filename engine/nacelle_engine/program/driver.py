"""The CUDA driver, as far as launching prebuilt kernels goes. torch owns the context and memory."""

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cuda.bindings.driver as driver

from nacelle_engine.errors import CorruptBundle, GpuOutOfMemory
from nacelle_engine.program.launch import KernelFile

_THREADS_A_WARP = 32
# Kernels get this much dynamic shared memory without asking.
_PLAIN_SHARED_BYTES = 48 * 1024
_DEPENDENT = driver.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
_SHARED = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
_SUCCESS = driver.CUresult.CUDA_SUCCESS
_NO_EXTRA = 0


class DriverError(RuntimeError):
    """A call of the driver failed: a fault of ours, or of the machine."""


class Function:
    """A kernel loaded from its cubin into torch's context; it lives as long as the process."""

    def __init__(self, rank: Path, facts: KernelFile) -> None:
        path = rank / facts.file
        try:
            image = path.read_bytes()
        except OSError as error:
            raise CorruptBundle(f"{path} cannot be read: {error.strerror}") from error
        try:
            module = _checked(driver.cuModuleLoadData(image))
            self.handle = _checked(driver.cuModuleGetFunction(module, facts.entry.encode()))
        except DriverError as error:
            raise CorruptBundle(f"{path} cannot be loaded: {error}") from error
        self.facts = facts
        if facts.shared_bytes > _PLAIN_SHARED_BYTES:
            _checked(driver.cuFuncSetAttribute(self.handle, _SHARED, facts.shared_bytes))


class PreparedLaunch:
    """A function with its arguments and attributes set once; each launch names a grid alone.

    cells: addresses of the arguments' values, which may change between launches, in order.
    """

    def __init__(self, function: Function, cells: Sequence[int], stream: int) -> None:
        facts = function.facts
        # Triton's cubins take two scratch pointers after their own arguments; we use neither.
        self._scratch = (ctypes.c_void_p(), ctypes.c_void_p())
        addresses = [*cells, *(ctypes.addressof(cell) for cell in self._scratch)]
        self._addresses = (ctypes.c_void_p * len(addresses))(*addresses)
        self._parameters = ctypes.addressof(self._addresses)
        self._handle = function.handle
        self._name = facts.name
        config = driver.CUlaunchConfig()
        config.blockDimX, config.blockDimY, config.blockDimZ = _THREADS_A_WARP * facts.warps, 1, 1
        config.sharedMemBytes = facts.shared_bytes
        config.hStream = driver.CUstream(stream)
        if facts.dependent:
            attribute = driver.CUlaunchAttribute()
            attribute.id = _DEPENDENT
            attribute.value.programmaticStreamSerializationAllowed = 1
            config.attrs = [attribute]
            config.numAttrs = 1
        self._config = config

    def launch(self, x: int, y: int, z: int) -> None:
        """Launch x * y * z programs on the stream."""
        config = self._config
        config.gridDimX, config.gridDimY, config.gridDimZ = x, y, z
        (result,) = driver.cuLaunchKernelEx(config, self._handle, self._parameters, _NO_EXTRA)
        if result != _SUCCESS:
            raise DriverError(f"{self._name}: {_text(result)}")


def _checked(returned: tuple[Any, ...]) -> Any:
    result, *values = returned
    if result == driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
        raise GpuOutOfMemory(f"the GPU's memory is used up: {_text(result)}")
    if result != _SUCCESS:
        raise DriverError(_text(result))
    return values[0] if values else None


def _text(result: Any) -> str:
    return f"the CUDA driver says {result.name}"
