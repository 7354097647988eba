"""The runtime ABI: the exact pair of libraries and the op set that a compiled program runs with."""

from typing import Final

TORCH_VERSION: Final = "2.11.0"
TRITON_VERSION: Final = "3.6.0"
# Of engines that TensorRT has compiled: a plan runs with the very version that made it.
TENSORRT_VERSION: Final = "10.6.0"
# Raised whenever a custom op's schema or results, the program's signature or the bundle's layout
# changes.
OPS_VERSION: Final = 6

ABI: Final = f"torch{TORCH_VERSION}-triton{TRITON_VERSION}-ops{OPS_VERSION}"


def abi_of(backend: str, base: str = ABI) -> str:
    """The ABI of engines that a backend compiles: TensorRT's plans need its very version too."""
    return f"{base}-tensorrt{TENSORRT_VERSION}" if backend == "tensorrt" else base


def backend_of(abi: str) -> str:
    """The backend whose engines have an ABI."""
    return "tensorrt" if "-tensorrt" in abi else "native"
