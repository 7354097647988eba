"""What the machine at hand is: its CPU's flags, and its GPU as the driver describes it."""

import ctypes
from dataclasses import dataclass

from nacelle_engine.arch import cpu_flags

# cuda.h: CUdevice_attribute.
_MULTIPROCESSORS, _MAJOR, _MINOR = 16, 75, 76
_NAME_LENGTH = 256


@dataclass(frozen=True)
class Gpu:
    """One GPU: (major, minor), the product with dashes as in node labels, its multiprocessors, and
    all its memory in bytes."""

    compute_capability: tuple[int, int]
    product: str
    sm_count: int
    memory_bytes: int

    def __str__(self) -> str:
        major, minor = self.compute_capability
        return f"{self.product} (sm_{major}{minor}, {self.sm_count} SMs)"


@dataclass(frozen=True)
class Machine:
    """The facts that a bundle's target is held against."""

    cpu_flags: frozenset[str]
    gpu: Gpu | None = None


def this_machine() -> Machine:
    """The facts of this machine; no memory of a GPU is taken, no context made."""
    return Machine(cpu_flags(), first_gpu())


def first_gpu() -> Gpu | None:
    """The first GPU that this process may see; None without a driver or a device."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    count, device = ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return None
    if driver.cuDeviceGet(ctypes.byref(device), 0):
        return None
    name = ctypes.create_string_buffer(_NAME_LENGTH)
    driver.cuDeviceGetName(name, _NAME_LENGTH, device)
    memory = ctypes.c_size_t()
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    return Gpu(
        compute_capability=(_attribute(driver, device, _MAJOR), _attribute(driver, device, _MINOR)),
        product=name.value.decode().replace(" ", "-"),
        sm_count=_attribute(driver, device, _MULTIPROCESSORS),
        memory_bytes=memory.value,
    )


def _attribute(driver: ctypes.CDLL, device: ctypes.c_int, number: int) -> int:
    value = ctypes.c_int()
    driver.cuDeviceGetAttribute(ctypes.byref(value), number, device)
    return value.value
