"""What a run on a GPU depends on: the device, its driver, the versions of the libraries."""

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_DRIVER = Path("/proc/driver/nvidia/version")


def machine_facts(device: torch.device, driver: Path = _DRIVER) -> dict[str, Any]:
    """Name -> value; None where this machine does not tell."""
    return {
        "gpu": torch.cuda.get_device_name(device),
        "driver": driver_version(driver),
        "torch": torch.__version__,
        "triton": _version("triton"),
    }


def driver_version(file: Path) -> str | None:
    """The kernel module's version in the driver's own file; None where there is no such file.

    Its first line holds "... Kernel Module [for x86_64]  570.86.15  Release Build ...".
    """
    try:
        text = file.read_text()
    except OSError:
        return None
    found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s", text)
    return found.group(1) if found else None


def _version(package: str) -> str | None:
    # An engine is served without Triton, and may be measured so.
    try:
        return version(package)
    except PackageNotFoundError:
        return None
