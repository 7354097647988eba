"""The only door to TensorRT: its Python module, found when it is asked for, and its log."""

import importlib
import importlib.util
from typing import Any, Final

from nacelle_engine.abi import TENSORRT_VERSION
from nacelle_engine.errors import AbiMismatch

# The module that NVIDIA's packages of any CUDA version bring; `tensorrt` itself only passes it on.
_MODULE: Final = "tensorrt_bindings"
_INSTALL: Final = (
    f"install it with: pip install 'nacelle[tensorrt]' (TensorRT {TENSORRT_VERSION}); an image "
    "holds it that is built with --build-arg TENSORRT=1"
)


def tensorrt() -> Any:
    """TensorRT's module; AbiMismatch where it is missing, cannot be loaded, or is another one."""
    try:
        module = importlib.import_module(_MODULE)
    except ModuleNotFoundError as error:
        raise AbiMismatch(
            f"backend tensorrt: TensorRT is not installed here; {_INSTALL}"
        ) from error
    except ImportError as error:
        raise AbiMismatch(f"backend tensorrt: a library of TensorRT is missing: {error}") from error
    version = release(module.__version__)
    if version != TENSORRT_VERSION:
        raise AbiMismatch(
            f"backend tensorrt: TensorRT {version} is installed here, and plans are compiled for "
            f"{TENSORRT_VERSION} alone; {_INSTALL}"
        )
    return module


def installed() -> bool:
    """Whether there is a TensorRT here, of any version; nothing of it is loaded."""
    return importlib.util.find_spec(_MODULE) is not None


def release(version: str) -> str:
    """major.minor.patch of a version such as 10.6.0.post1."""
    return ".".join(version.split(".")[:3])
