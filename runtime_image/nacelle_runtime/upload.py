"""From host arrays to the device, without waiting for what the device does."""

from typing import Any

import torch
from numpy.typing import NDArray


def upload(values: NDArray[Any], device: torch.device) -> torch.Tensor:
    """The array as a tensor there, in the order of the current stream; on a CPU the array itself.

    A plain copy would wait until the stream is empty: only pinned memory is read later.
    """
    tensor = torch.from_numpy(values)
    if device.type != "cuda":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def download(values: torch.Tensor) -> torch.Tensor:
    """A copy in pinned host memory, there once the current stream has come so far."""
    return values.to("cpu", non_blocking=True)
