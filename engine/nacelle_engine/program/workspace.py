"""The activations' memory: every buffer of a launch list, made once for the largest step."""

import torch

from nacelle_engine.program.largest import largest_sizes
from nacelle_engine.program.launch import LaunchList
from nacelle_engine.program.signature import Signature
from nacelle_engine.program.weights import DTYPES


def workspace(
    launches: LaunchList, signature: Signature, device: torch.device
) -> dict[str, torch.Tensor]:
    """The buffers by name."""
    most = largest_sizes(signature)
    return {
        buffer.name: torch.zeros(
            [size.of(most) for size in buffer.shape], dtype=DTYPES[buffer.dtype], device=device
        )
        for buffer in launches.buffers
    }
