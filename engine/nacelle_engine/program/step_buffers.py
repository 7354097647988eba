"""A step's inputs on their way to the GPU: packed in pinned memory, sent in one copy."""

import torch

from nacelle_engine.program.cells import Cells
from nacelle_engine.program.signature import Signature
from nacelle_engine.program.step_arrays import Array, Arrays

_ALIGNMENT = 16


class StepBuffers:
    """Room for the inputs of the largest step, on the host and on the device.

    Arrays lie one after the other, so that a small step copies few bytes; equal shapes always lie
    at equal addresses, so that a captured graph finds them again.
    """

    def __init__(self, size: int, device: torch.device, cells: Cells) -> None:
        self._host = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
        self._bytes = self._host.numpy()
        self._device = torch.empty(size, dtype=torch.uint8, device=device)
        self._cells = cells
        self._sent = torch.cuda.Event()  # type: ignore[no-untyped-call]

    def send(self, arrays: Arrays) -> None:
        """Copy the arrays on the current stream and let their cells point to the copies."""
        self._sent.synchronize()  # the copy before may still read the pinned bytes
        end = self._pack(arrays)
        self._device[:end].copy_(self._host[:end], non_blocking=True)
        self._sent.record()

    def take_tokens(self, tokens: torch.Tensor) -> None:
        """Put token ids that are on the device already into the place of those just sent."""
        # The token ids are a step's first array (step_arrays.py).
        self._device[: tokens.nbytes].view(tokens.dtype).copy_(tokens)

    def view(self, name: str, group: int, array: Array) -> torch.Tensor:
        """The copy on the device of an array that was sent last."""
        start = self._cells.address(name, group) - self._device.data_ptr()
        copied = self._device[start : start + array.nbytes]
        return copied.view(getattr(torch, array.dtype.name)).view(array.shape)

    def _pack(self, arrays: Arrays) -> int:
        base, offset = self._device.data_ptr(), 0
        for name, array in arrays.items():
            self._bytes[offset : offset + array.nbytes].view(array.dtype)[:] = array.reshape(-1)
            name, _, group = name.partition(".")
            self._cells.point(name, base + offset, int(group or 0))
            offset = -(-(offset + array.nbytes) // _ALIGNMENT) * _ALIGNMENT
        return offset


def bytes_needed(signature: Signature) -> int:
    """Bytes that the inputs of the largest step take at most, their alignment included."""
    tokens, requests = signature.max_num_tokens, signature.max_batch_size
    groups = len(signature.kv_groups)
    by_token = 4 * 8 + 2 * 4  # ids, positions, slots, rows of logits; a tile's request and first
    by_request = 2 * 4 + 4 * groups * signature.max_blocks
    return tokens * by_token + (requests + 1) * by_request + _ALIGNMENT * (8 + groups)
